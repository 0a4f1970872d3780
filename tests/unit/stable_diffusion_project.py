"""A project folder with encoded inputs of the stages that run a diffusion model, in seconds."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from ruamel.yaml import YAML

from stages import encode
from stages.config import paths
from stages.files.images import encode_png
from stages.files.tables import write_table
from stages.sources.prompts import COLUMNS
from tests.tiny import IMAGE_SIZE_PX, build_base

PARAMS = Path(__file__).parents[2] / "params.yaml"


def build_project(folder: Path) -> None:
    """Write params.yaml, a micro base, ten pairs and three prompts to a folder."""
    build_base(folder / "models/tiny")
    write_params(folder)
    edit_params(folder, "bases", tiny={"resolution_px": IMAGE_SIZE_PX})
    edit_params(
        folder,
        "finetune",
        max_train_steps=4,
        validation_steps=2,
        checkpoint_steps=2,
        learning_rate=1e-2,
    )
    edit_params(
        folder,
        "sample",
        num_inference_steps=2,
        images_per_class_prompt=1,
        images_per_marketing_prompt=2,
        batch_size=2,
    )
    write_table(build_pairs(), folder / paths.PAIRS)
    write_table(build_prompts(), folder / paths.PROMPTS)


def write_params(folder: Path) -> None:
    """Write the shipped params.yaml and the table of no further prompts that it names."""
    (folder / "params.yaml").write_text(PARAMS.read_text())
    write_table(pd.DataFrame(columns=COLUMNS), folder / "data/extra_prompts.csv")


def build_encoded_project(folder: Path) -> None:
    """The same, and run `encode`."""
    build_project(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        encode.main()


def enter_copy(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy a project that many tests share, and make the copy the current folder."""
    folder = tmp_path / "project"
    shutil.copytree(built, folder)
    monkeypatch.chdir(folder)
    return folder


def edit_params(folder: Path, section: str, **changes: Any) -> None:
    """Change keys of one section of params.yaml."""
    yaml = YAML()
    params = yaml.load(folder / "params.yaml")
    for key, value in changes.items():
        if isinstance(value, dict):
            params[section][key].update(value)
        else:
            params[section][key] = value
    yaml.dump(params, folder / "params.yaml")


def kill_after(train: object, num_steps: int) -> object:
    """The loop `train`, killed after so many steps."""

    def killed(*args: object) -> Iterator[object]:
        for taken, step in enumerate(train(*args)):
            if taken == num_steps:
                raise KeyboardInterrupt
            yield step

    return killed


def build_pairs() -> pd.DataFrame:
    """Ten pairs of noise, two captions, the last two for validation."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (10, IMAGE_SIZE_PX, IMAGE_SIZE_PX, 3), dtype=np.uint8)
    return pd.DataFrame(
        {
            "image": [encode_png(Image.fromarray(image)) for image in pixels],
            "caption": ["a photo of a cat", "a photo of a dog"] * 5,
            "class": ["cat", "dog"] * 5,
            "split": ["train"] * 8 + ["validation"] * 2,
            "source_id": [f"noise/{row}" for row in range(10)],
        }
    )


def build_prompts() -> pd.DataFrame:
    """Two class prompts and a marketing prompt: four pictures by the params above."""
    return pd.DataFrame(
        {
            "prompt_id": ["cat-1", "dog-2", "mug-3"],
            "set": ["class", "class", "marketing"],
            "class": ["cat", "dog", "coffee mug"],
            "prompt": ["a photo of a cat", "a photo of a dog", "a blue coffee mug"],
        }
    )
