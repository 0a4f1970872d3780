import hashlib
import re
from html import unescape
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import ModelCard, ModelCardData

from stages.reporting.markdown import describe_results, digest_prompts, escape, render_card
from tests.hostile import HOSTILE, NAMES, list_hostile_prompts
from tests.report_project import write_report, write_results

SETS = [
    {
        "set": "in_domain",
        "num_prompts": 120,
        "num_images": 240,
        "baseline": 0.62585,
        "finetuned": 0.62021,
        "difference": -0.00564,
        "ci_low": -0.0152,
        "ci_high": 0.0039,
        "p_value": 0.2512,
        "verdict": "too little data to say",
        "zero_shot_accuracy_baseline": 0.9583,
        "zero_shot_accuracy_finetuned": 0.9458,
    }
]
ROW = (
    "| in-domain | 120 | 240 | 0.6259 | 0.6202 | \u22120.0056 | \u22120.0152 to +0.0039 | 0.2512 | "
    "too little data to say | 0.958 → 0.946 |"
)
COUNTS = {"num_bad": 3, "num_images": 240}
EVIDENCE = {
    "verdict": {
        "headline": "Worse",
        "sentence": "It is worse.",
        "counts": {"finetuned": COUNTS, "baseline": COUNTS | {"num_bad": 1}},
    },
    "sets": SETS,
    "cost": {"training_s": 38.1, "checkpoint_bytes": 1573630},
    "digests": {"in_domain": "0123456789abcdef"},
    "confidence_level": 0.95,
}
ABOUT = {
    "name": "A name",
    "model": "owner/base",
    "revision": "abc",
    "method": "import",
    "applied": "LoRA: 60 of 60 modules",
    "strength": 0.5,
    "license": "apache-2.0",
    "snippet": 'pipe("a photo of a cat")',
    "finetune": {"path": "lora.safetensors"},
}


def test_the_summary_has_the_verdict_and_a_row_a_set(tmp_path: Path) -> None:
    write_results(tmp_path)
    write_report(tmp_path)
    text = (tmp_path / "plots/report.md").read_text(encoding="utf-8")
    assert text.startswith("## ")
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows] == [
        "| prompts",
        "| ---",
        "| in-domain",
        "| marketing",
    ]
    assert len({row.count(" | ") for row in rows}) == 1
    assert len(text) < 3000


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    write_results(tmp_path, prompts=list_hostile_prompts())
    write_report(tmp_path)
    text = (tmp_path / "plots/report.md").read_text(encoding="utf-8")
    assert not re.search(r"<(?!!-- -->)", text)
    assert len(text) < 5000


@pytest.mark.parametrize(
    "name", [HOSTILE, *NAMES, "a | b", "`x`", "[a](b)", "two\nlines", "*a*_b_"]
)
def test_escaped_text_has_no_markup_and_one_line(name: str) -> None:
    text = escape(name)
    assert not re.search(r"[|`*_\[\]~\\$]", re.sub(r"&#\d+;", "", text))
    assert not re.search(r"<(?!!-- -->)|(?<!--)>", text)
    assert len(text.splitlines()) <= 1
    shown = unescape(text.replace("<!-- -->", ""))  # as a reader sees it
    assert shown.removesuffix("…") == " ".join(name.split())[: len(shown.removesuffix("…"))]


def test_no_one_is_called_by_a_comment() -> None:
    assert escape("@team and #12") == "@<!-- -->team and #<!-- -->12"


def test_a_card_has_header_verdict_cost_digests_and_snippet() -> None:
    data = ModelCardData(
        license="apache-2.0",
        base_model="owner/base",
        model_name="A name",
        eval_results=describe_results(SETS, EVIDENCE["digests"]),
    )
    text = render_card(data, EVIDENCE, ABOUT)
    card = ModelCard(text)  # huggingface_hub's own reading
    assert card.data.license == "apache-2.0"
    assert card.data.base_model == "owner/base"
    (found,) = card.data.eval_results
    assert (found.metric_type, found.metric_value) == ("clip_cosine", 0.62021)
    assert found.dataset_revision == "0123456789abcdef"
    assert ROW in card.text
    for part in (
        "training&#95;s | 38.1",
        'pipe("a photo of a cat")',
        "at strength 0.5",
        "60 of 60",
    ):
        assert part in card.text
    assert "3 of 240 fine-tuned pictures" in card.text


def test_without_results_the_card_says_so() -> None:
    text = render_card(ModelCardData(license="unknown"), {}, ABOUT | {"license": ""})
    assert "Not judged yet" in text
    assert "| prompts" not in text
    assert "Not stated: `make export LICENSE=…`" in text


def test_a_digest_is_that_of_a_file_with_the_sets_prompts() -> None:
    prompts = pd.DataFrame({"set": ["a", "b", "a"], "prompt": ["one", "two", "three"]})
    expected = {
        "a": hashlib.sha256(b"one\nthree\n").hexdigest()[:16],
        "b": hashlib.sha256(b"two\n").hexdigest()[:16],
    }
    assert digest_prompts(prompts) == expected
