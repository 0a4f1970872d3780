import logging
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from stages import preflight
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.files.clip_files import describe_clips
from stages.scoring.scorer import load_scorer
from stages.sources.intake import Intake
from stages.sources.notes import Note
from tests.tiny import build_scorer


class StubTokenizer:
    """A token a word, five at once, of which the first and last are not words."""

    model_max_length = 5

    def __call__(self, texts, truncation, verbose=True):
        if isinstance(texts, str):
            return self.encode([texts], truncation, single=True)
        return self.encode(texts, truncation)

    def encode(self, texts, truncation, single=False):
        ids = [[0, *(hash(word) for word in text.split()), 1] for text in texts]
        ids = [[*row[:4], 1] if truncation and len(row) > 5 else row for row in ids]
        self.words = texts[0].split() if single else []
        return type("Encoding", (), {"input_ids": ids[0] if single else ids})

    def decode(self, ids):
        return " ".join(self.words[-len(ids) :])


def test_texts_that_are_cut_are_counted_in_one_line_and_listed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    texts = ["a red cat", "a red cat sits", "a red cat on ice", "a red cat sits"]
    notes = preflight.note_cuts(StubTokenizer(), texts, "prompt")
    assert notes == [
        Note("a red cat sits", "end is not seen: sits"),
        Note("a red cat on ice", "end is not seen: on ice"),
    ]
    assert caplog.messages == [
        "2 prompts cut at 5 tokens, 3 are equal then and count several times; "
        f"listed in {paths.LEFT_OUT}"
    ]
    preflight.note_cuts(StubTokenizer(), texts[1:2], "caption")
    assert caplog.messages[1] == f"1 caption cut at 5 tokens; listed in {paths.LEFT_OUT}"


def test_a_negative_prompt_that_is_cut_is_listed_with_the_prompts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(preflight, "load_text_encoder", lambda *_: (StubTokenizer(), None))
    params = load_params()
    sampled = params.sample.model_copy(update={"negative_prompt": "a dull grey cat"})
    table = pd.DataFrame({"caption": ["a cat"], "finetuned_prompt": ["a cat"]})
    intake = Intake(chosen=table, notes={}, prompts=table)
    preflight.check_words(params.model_copy(update={"sample": sampled}), intake, None)
    assert intake.notes["prompts"] == [Note("a dull grey cat", "end is not seen: cat")]


@pytest.mark.parametrize("text", ["a cat in a room", "A Room", "groot"])
def test_a_new_word_inside_another_is_refused(text: str) -> None:
    with pytest.raises(UserError, match=r"^subject\.placeholder: roo is a part of a word of "):
        preflight.refuse_part_of_word("roo", ["a roo, here", text])


@pytest.mark.parametrize("word", ["<toy>", "café", "sks"])
def test_a_new_word_of_its_own_is_taken(word: str) -> None:
    preflight.refuse_part_of_word(word, [f"a photo of a {word}", f"{word}, in a room", "a cafe"])


@pytest.mark.parametrize(
    ("seed", "is_wanted", "refusal"),
    [
        (0, False, r"^sample\.guide_is_scorer: should be true: .* would judge where it led"),
        (1, True, r"^sample\.guide_is_scorer: should be false: .* is not the scorer"),
        (0, True, None),
        (1, False, None),
    ],
)
def test_a_guide_that_is_the_scorer_by_its_weights_is_refused_unless_that_is_said(
    tmp_path: Path, seed: int, is_wanted: bool, refusal: str | None
) -> None:
    build_scorer(tmp_path / "scorer")
    build_scorer(tmp_path / "copy", seed)
    params = load_params()
    guide = {"scorer": "none", "guide": f"local-dir:{tmp_path / 'copy'}"}
    sample = {"clip_guidance_scale": 5.0, "guide_is_scorer": is_wanted}
    params = params.model_copy(
        update={
            "bases": {params.base: params.chosen.model_copy(update=guide)},
            "sample": params.sample.model_copy(update=sample),
        }
    )
    scorer = load_scorer(f"local-dir:{tmp_path / 'scorer'}", None)
    with pytest.raises(UserError, match=refusal) if refusal else nullcontext():
        preflight.check_guide(params, scorer)


def test_a_guide_is_asked_of_the_hub_only_where_it_leads() -> None:
    params = load_params()
    params = params.model_copy(update={"base": "sd15"})
    assert [model.key for model in describe_clips(params)] == ["bases.*.scorer"]
    sample = params.sample.model_copy(update={"clip_guidance_scale": 5.0})
    _, guide = describe_clips(params.model_copy(update={"sample": sample}))
    assert (guide.key, guide.what) == ("bases.*.guide", "guide ViT-L-14-quickgelu")
    assert guide.revision == params.chosen.guide_revision is not None
