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

from stages import encode, prepare
from stages.config import paths
from stages.config.params import load_params
from stages.files.images import encode_png
from stages.files.pictures import write_pictures
from stages.files.tables import PAIRS_SCHEMA, write_json, write_table
from stages.files.taught import name_taught, read_taught, write_taught
from stages.sources import intake
from stages.sources import prompts as sources_of_prompts
from stages.sources.intake import Part
from stages.sources.prompts import COLUMNS, list_subject_prompts
from stages.sources.subject import choose_subject, open_subject
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
        images_per_in_domain_prompt=1,
        images_per_marketing_prompt=2,
        batch_size=2,
    )
    write_pairs(build_pairs(), folder / paths.PAIRS)
    write_table(build_prompts(), folder / paths.PROMPTS)


def write_pairs(pairs: pd.DataFrame, path: Path) -> None:
    """Write pairs with the pictures of their column image."""
    write_pictures(pairs, pairs["image"], path, PAIRS_SCHEMA)


def write_params(folder: Path) -> None:
    """Write the shipped params.yaml, the table that it names, and that nothing else is given."""
    write_json({}, folder / paths.SUBJECT)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        prepare.take_no_pictures()
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
    yaml = YAML(typ="safe")
    yaml.sort_base_mapping_type_on_output = False
    params = yaml.load(folder / "params.yaml")
    for key, value in changes.items():
        if isinstance(value, dict):
            params[section][key].update(value)
        else:
            params[section][key] = value
    yaml.dump(params, folder / "params.yaml")


def teach_subject(folder: Path) -> None:
    """Do what preflight and prepare do for a method that learns a subject: pairs and prompts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        params = load_params()
        write_taught(name_taught(params), paths.SUBJECT)
        taught = read_taught(paths.SUBJECT)
        assert taught
        source = open_subject(taught.subject, taught.learned)
        wanted = taught.subject
        counts = (wanted.num_pictures, wanted.num_held_out_pictures)
        choice = choose_subject(source, *counts, wanted.seed)
        templates = taught.subject.caption_templates
        splits = ("subject", "subject_held_out")
        parts = [Part(s, source, i, templates) for s, i in zip(splits, choice, strict=True)]
        rows = pd.concat(map(intake.build_pairs, parts), ignore_index=True)
        sources = dict.fromkeys(splits, source)
        with prepare.load_pictures(rows, sources, params.chosen.resolution_px) as pictures:
            rows = rows.assign(image=list(pictures))
        write_pairs(pd.concat([build_pairs(), rows], ignore_index=True), paths.PAIRS)
        asked = list_subject_prompts(taught, params.prompts.subject_templates)
        prompts = sources_of_prompts.build_prompts(["cat"], params.prompts, asked)
        subject = prompts[prompts["set"] == "subject"]
        write_table(pd.concat([build_prompts(), subject]), paths.PROMPTS)


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
    """Two in-domain prompts and a marketing prompt: four pictures by the params above."""
    return pd.DataFrame(
        {
            "prompt_id": ["cat-1", "dog-2", "mug-3"],
            "set": ["in_domain", "in_domain", "marketing"],
            "class": ["cat", "dog", "coffee mug"],
            "prompt": ["a photo of a cat", "a photo of a dog", "a blue coffee mug"],
        }
    ).assign(finetuned_prompt=lambda table: table["prompt"], protocol="paper")
