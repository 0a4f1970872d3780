"""A project whose pictures and params.yaml are of hostile names, and all stages in one process."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from stages import (
    check,
    compare,
    embed,
    encode,
    finetune,
    preference,
    preflight,
    prepare,
    report,
    sample,
    score,
)
from stages.config import paths
from stages.files.images import encode_png
from stages.files.tables import write_table
from tests.hostile import MARKETING, NAMES
from tests.tiny import IMAGE_SIZE_PX, build_base, build_scorer
from tests.unit.stable_diffusion_project import PARAMS, edit_params

STAGES = (
    *((stage.main, ()) for stage in (check, preflight, prepare, embed, encode, finetune)),
    *((stage.main, (variant,)) for stage in (sample, score) for variant in paths.VARIANTS),
    *((stage.main, ()) for stage in (compare, preference, report)),
)


def build_hostile_project(folder: Path) -> None:
    """Write params.yaml, micro models and pictures; classes, captions and prompts are of NAMES.

    Of the marketing prompts one is in params.yaml, the others are in a file. Two pictures a class,
    one to train on and one to validate, half of them with a caption.
    """
    build_base(folder / "models/tiny")
    build_scorer(folder / "models/tiny-scorer")
    (folder / "params.yaml").write_text(PARAMS.read_text())
    columns = {"image_column": "image", "label_column": "label", "caption_column": "caption"}
    data = {"source": "parquet", "root": "pictures.parquet"} | columns
    edit_params(folder, "bases", tiny={"resolution_px": IMAGE_SIZE_PX, "data": data})
    counts = {"num_pairs": len(NAMES), "num_validation_pairs": len(NAMES)}
    edit_params(folder, "prepare", classes=list(NAMES), **counts)
    rows = [{"class": name, "prompt": f"{name} on a table"} for name in MARKETING]
    edit_params(
        folder,
        "prompts",
        class_templates=["a {}"],
        added_class_templates=[],
        marketing=rows[:1],
        added_marketing=[],
    )
    table = pd.DataFrame(rows[1:]).assign(set="marketing")
    write_table(table, folder / "data/extra_prompts.csv")
    edit_params(folder, "finetune", max_train_steps=2, learning_rate=1e-2)
    counts = {"images_per_in_domain_prompt": 1, "images_per_marketing_prompt": 1}
    edit_params(folder, "sample", num_inference_steps=1, **counts)
    edit_params(folder, "compare", num_resamples=100)
    rng = np.random.default_rng(0)
    size = (2 * len(NAMES), IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3)
    pixels = rng.integers(0, 256, size, dtype=np.uint8)
    pictures = pd.DataFrame(
        {
            "image": [encode_png(Image.fromarray(image)) for image in pixels],
            "label": list(range(len(NAMES))) * 2,
            "caption": [None] * len(NAMES) + [f"caption: {name}" for name in NAMES],
        }
    )
    pictures.to_parquet(folder / "pictures.parquet")


def run_stages() -> None:
    """Run every stage in the current folder, in this process."""
    for main, args in STAGES:
        main(*args)
