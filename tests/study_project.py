"""A folder with small samples and scores of both variants, and raters who never saw the page."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages.config import paths
from stages.files.facts import write_facts
from stages.files.images import encode_png
from stages.files.pictures import write_pictures
from stages.files.tables import SAMPLES_SCHEMA, SCORES_SCHEMA, write_table
from stages.scoring.metrics.metric import PIXELS
from stages.scoring.metrics.registry import METRICS, describe_metrics
from stages.study.key import NOBODY
from stages.study.votes import FNV_OFFSET, HEADER, LEFT, RIGHT, SAME, compute_check

ROOT = Path(__file__).parents[1]
NUM_PROMPTS, NUM_PER_PROMPT = 24, 2
Answer = Callable[[Mapping[str, str], str, str], str]
"""From a row of the key and the arms on the left and on the right to an answer."""


def list_samples() -> pd.DataFrame:
    """Rows of `SAMPLES_SCHEMA`: two pictures of each of 24 prompts, in eight classes."""
    number = np.arange(NUM_PROMPTS * NUM_PER_PROMPT)
    prompt = number // NUM_PER_PROMPT
    return pd.DataFrame(
        {
            "file_name": [f"p{p}_{n % NUM_PER_PROMPT}.png" for n, p in enumerate(prompt)],
            "prompt": [f"a thing, number {p}" for p in prompt],
            "prompt_id": [f"p{p}" for p in prompt],
            "set": np.where(prompt < 16, "in_domain", "marketing"),
            "class": [f"c{p % 4}" if p < 16 else f"m{p % 4}" for p in prompt],
            "index": number % NUM_PER_PROMPT,
            "seed": number,
            "steps": 1,
            "guidance": 7.5,
            "scheduler": "ddim",
            "model": "none",
            "is_finite": True,
        }
    )


def draw_pictures(
    seed: int, side_px: int = 8, contrast: int = 255, detail_px: int | None = None
) -> list[bytes]:
    """A PNG file of noise for each row of `list_samples`; with less contrast it is smaller.

    With `detail_px` the noise is of so many pixels a side, and is enlarged.
    """
    rng = np.random.default_rng(seed)
    size = (NUM_PROMPTS * NUM_PER_PROMPT, *[detail_px or side_px] * 2, 3)
    pixels = rng.integers(0, contrast, size, dtype=np.uint8)
    return [encode_png(Image.fromarray(image).resize((side_px, side_px))) for image in pixels]


def write_variant(variant: str, seed: int, **look: int) -> None:
    """Write the samples of a variant below the current folder; `look` as in `draw_pictures`."""
    images = draw_pictures(seed, **look)
    write_pictures(list_samples(), images, paths.SAMPLES[variant], SAMPLES_SCHEMA)


def write_scores() -> None:
    """Write scores of both variants: CLIP prefers the fine-tuned pictures of even prompts."""
    rows = list_samples()[["file_name", "prompt_id", "set", "class", "index", "prompt"]]
    rng = np.random.default_rng(0)
    table = rows.assign(predicted_class="c0", nearest_training_id="a")
    for name, kind in SCORES_SCHEMA.items():
        if name not in table:
            values = rng.random(len(table)) if kind == "float64" else kind == "int64"
            table[name] = pd.Series(values, index=table.index).astype(kind)
    table = table[list(SCORES_SCHEMA)]
    is_even = rows["prompt_id"].str.slice(1).astype(int) % 2 == 0
    gain = np.where(is_even, 0.1, -0.1)
    write_table(table, paths.SCORES["baseline"])
    write_table(table.assign(clip_cosine=table["clip_cosine"] + gain), paths.SCORES["finetuned"])
    for path in paths.FACTS.values():
        write_facts(describe_metrics(METRICS, PIXELS), path)


def write_project() -> None:
    """Write params.yaml, samples and scores, and the folders of a study, where we are."""
    shutil.copyfile(ROOT / "params.yaml", "params.yaml")
    write_variant("baseline", 1)
    write_variant("finetuned", 2)
    write_scores()
    paths.VOTES.mkdir(parents=True)


def set_num_pairs(count: int) -> None:
    """Change it in params.yaml."""
    path = Path("params.yaml")
    text = path.read_text(encoding="utf-8")
    old = "  num_pairs: 40 "
    assert old in text
    path.write_text(text.replace(old, f"  num_pairs: {count} "), encoding="utf-8")


def answer_study(key: pd.DataFrame, rater: int, answer: Answer, rows: int | None = None) -> str:
    """What the page would have saved for a rater who answers both questions of each trial alike."""
    rng = np.random.default_rng(rater)
    votes = []
    for row in key.to_dict("records"):
        left = "ab"[rng.integers(2)]
        right = "ab".replace(left, "")
        said = answer(row, row[f"arm_{left}"], row[f"arm_{right}"])
        for question in ("fits_text", "looks_better"):
            votes.append((row["trial"], row[left], question, said))
    votes = votes[:rows]
    check, lines = FNV_OFFSET, []
    for number, vote in enumerate(votes, start=1):
        line = ",".join([key["study"][0], str(rater), str(number), str(len(votes)), *vote, "2.5,"])
        check = compute_check(line, check)
        lines.append(f"{line}{check:08x}\n")
    return f"{HEADER}\n{''.join(lines)}"


def prefer(arm: str) -> Answer:
    """A rater who prefers an arm, and any picture that is whole, and sees where both are equal."""

    def answer(row: Mapping[str, str], left: str, right: str) -> str:
        if left == right:
            return SAME
        if NOBODY in (left, right):
            return RIGHT if left == NOBODY else LEFT
        return {left: LEFT, right: RIGHT}.get(arm, SAME)

    return answer


def press_left(row: Mapping[str, str], left: str, right: str) -> str:
    """A rater who looks at nothing."""
    return LEFT
