"""Weights that others trained, and strength, across the stages of a micro base."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from stages import compare, embed, encode, finetune, sample, score
from stages.commands import export
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.files.tables import read_json
from stages.files.taught import name_taught, write_taught
from tests import foreign
from tests.pictures import decode_levels, read_samples
from tests.tiny import build_base, build_scorer
from tests.unit.commands.test_export import draw
from tests.unit.stable_diffusion_project import (
    edit_params,
    teach_subject,
)

MODEL = "models/tiny"
ADAPTERS = [pytest.param(m, marks=pytest.mark.thorough) for m in ("lora", "hydra_lora")]
LORA = {"rank": 2, "alpha": 5, "targets": ["to_k", "to_out.0"], "use_dora": False}


@pytest.fixture
def kohya(project: Path) -> Path:
    """A LoRA of U-Net and text encoder for the project's base."""
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL)
    layers = foreign.list_kohya_layers(pipeline.unet, pipeline.text_encoder)
    return foreign.save(foreign.write_kohya(layers, 4, 8), project / "kohya.safetensors")


@pytest.fixture
def other(project: Path) -> Path:
    """A pipeline whose U-Net, text encoder and VAE are others."""
    build_base(project / "other", seed=1)
    return project / "other"


def test_a_pipeline_that_was_exported_and_imported_again_draws_the_same_bytes(
    project: Path,
) -> None:
    trained = train_sample_and_export(project, method="attn2")
    shutil.move(paths.EXPORTED / "pipeline", "theirs")
    assert bring_in(project, "theirs") == trained
    applied = read_json(paths.TRAINING, "finetune")["applied"]
    assert applied.startswith(
        "checkpoint: 20 of 208 tensors of the U-Net, 0 of 36 tensors of the t"
    )


@pytest.mark.parametrize("file", ["kohya", "diffusers"])
def test_an_adapter_that_was_exported_and_imported_again_draws_the_same_pictures(
    project: Path, file: str
) -> None:
    train_sample_and_export(project, method="lora", lora=LORA)
    trained = read_levels("finetuned")
    losses = read_json(paths.TRAINING, "finetune")
    theirs = shutil.copytree(paths.FINETUNED, "theirs")
    if file == "kohya":
        theirs = shutil.copy(paths.EXPORTED / "lora.safetensors", "theirs.safetensors")
    bring_in(project, str(theirs))
    assert np.abs(read_levels("finetuned") - trained).max() <= 1  # float32 rounding
    found = read_json(paths.TRAINING, "finetune")
    assert found["applied"] == "LoRA: 16 of 16 modules, rank 2, alpha 5, on U-Net"
    for name in ("validation_loss_before", "validation_loss_after"):
        assert found[name] == pytest.approx(losses[name], rel=1e-5)


@pytest.mark.thorough
@pytest.mark.parametrize("file", ["peft", "kohya", "diffusers"])
def test_what_was_exported_and_imported_again_gets_the_same_verdict(
    project: Path, file: str
) -> None:
    build_scorer(project / "models/tiny-scorer")
    edit_params(project, "sample", images_per_in_domain_prompt=4)
    embed.main()
    sample_bytes("baseline")
    method = "attn2" if file == "diffusers" else "lora"
    train_sample_and_export(project, method=method, lora=LORA)
    trained = score_and_compare()
    assert abs(trained["difference"]).max() > 0
    theirs = {
        "peft": paths.FINETUNED,
        "kohya": paths.EXPORTED / "lora.safetensors",
        "diffusers": paths.EXPORTED / "pipeline",
    }[file]
    bring_in(project, str(shutil.move(theirs, f"theirs{theirs.suffix}")))
    found = score_and_compare()
    words = ["set", "num_prompts", "verdict"]
    assert found[words].equals(trained[words])
    for column in ("difference", "ci_low", "ci_high"):  # pictures differ by rounding at the most
        np.testing.assert_allclose(found[column], trained[column], rtol=0, atol=2e-3)


def test_the_base_as_import_draws_the_baseline(project: Path) -> None:
    shutil.copytree(MODEL, "theirs")
    assert bring_in(project, "theirs") == sample_bytes("baseline")
    assert read_json(paths.TRAINING, "finetune")["validation_loss_change"] == 0


def test_adapters_of_the_text_encoder_are_applied_and_change_the_loss(
    project: Path, kohya: Path
) -> None:
    both = bring_in(project, str(kohya))
    loss = read_json(paths.TRAINING, "finetune")["validation_loss_after"]
    tensors = load_file(kohya)
    alone = {name: t for name, t in tensors.items() if name.startswith("lora_unet_")}
    foreign.save(alone, kohya)
    assert bring_in(project, str(kohya)) != both
    assert read_json(paths.TRAINING, "finetune")["validation_loss_after"] != loss


@pytest.mark.parametrize(
    "method",
    ["attn2", "kohya", *ADAPTERS, pytest.param("other", marks=pytest.mark.thorough)],
)
def test_strength_0_draws_the_baseline_bit_for_bit(
    project: Path, kohya: Path, other: Path, method: str
) -> None:
    train_or_bring_in(project, method, {"kohya": kohya, "other": other})
    baseline, finetuned = sample_bytes("baseline"), sample_bytes("finetuned")
    assert finetuned != baseline
    edit_params(project, "import", strength=0.0)
    assert sample_bytes("finetuned") == sample_bytes("baseline") == baseline
    edit_params(project, "import", strength=1.0)
    assert sample_bytes("finetuned") == finetuned


@pytest.mark.parametrize("method", ["attn2", *ADAPTERS])
def test_what_was_trained_grows_with_strength_without_being_trained_again(
    project: Path, method: str
) -> None:
    train_or_bring_in(project, method, {})
    weights = {path: path.read_bytes() for path in paths.FINETUNED.iterdir()}
    sample_bytes("baseline")
    distances = []
    for strength in (0.0, 0.1, 0.5, 1.0):
        edit_params(project, "import", strength=strength)
        sample_bytes("finetuned")
        distances.append(np.abs(read_levels("finetuned") - read_levels("baseline")).mean())
    assert distances == sorted(distances)
    assert 0 == distances[0] < distances[1] < distances[-1]
    assert {path: path.read_bytes() for path in paths.FINETUNED.iterdir()} == weights


@pytest.mark.parametrize("file", ["kohya", pytest.param("other", marks=pytest.mark.thorough)])
def test_what_is_exported_of_an_import_draws_the_same_picture(
    project: Path, kohya: Path, other: Path, file: str
) -> None:
    edit_params(project, "import", strength=0.5)
    bring_in(project, str({"kohya": kohya, "other": other}[file]))
    export.main()
    exported = StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline")
    row = read_samples(paths.SAMPLES["finetuned"]).iloc[0]
    assert np.abs(draw(exported, row) - decode_levels(row["image"])).max() <= 1
    assert not (paths.EXPORTED / "lora.safetensors").exists()


@pytest.mark.thorough
def test_an_adapter_is_exported_at_its_strength(project: Path) -> None:
    edit_params(project, "import", strength=0.5)
    train_sample_and_export(project, method="lora", lora=LORA)
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL)
    pipeline.load_lora_weights(paths.EXPORTED / "lora.safetensors")
    row = read_samples(paths.SAMPLES["finetuned"]).iloc[0]
    assert np.abs(draw(pipeline, row) - decode_levels(row["image"])).max() <= 1


@pytest.mark.thorough
def test_a_word_that_was_trained_and_imported_again_draws_the_same_bytes(project: Path) -> None:
    edit_params(project, "subject", num_pictures=4, num_held_out_pictures=2)
    edit_params(project, "finetune", method="textual_inversion", data="subject", learning_rate=0.5)
    teach_subject(project)
    encode.main()
    finetune.main()
    trained = sample_bytes("finetuned")
    shutil.copy(paths.FINETUNED / "learned_embeds.safetensors", "theirs.safetensors")
    edit_params(project, "finetune", method="import")
    edit_params(project, "import", path="theirs.safetensors")
    write_taught(name_taught(load_params(), imports_word=True), paths.SUBJECT, "a digest")
    assert bring_in(project, "theirs.safetensors") == trained != sample_bytes("baseline")
    found = read_json(paths.TRAINING, "finetune")
    assert found["applied"] == "embedding <my-frog> as <my-frog>: 2 vectors of 16"
    edit_params(project, "import", strength=0.5)
    with pytest.raises(UserError, match=r"^import\.strength: found 0\.5; should be 1 for a new w"):
        sample.main("finetuned")


def test_what_was_imported_for_another_base_is_refused(project: Path, kohya: Path) -> None:
    bring_in(project, str(kohya))
    build_base(project / MODEL, seed=1)
    with pytest.raises(UserError, match="trained on another base"):
        sample.main("finetuned")


def test_what_does_not_fit_leaves_no_weights(project: Path, kohya: Path) -> None:
    foreign.save({n: torch.zeros_like(t) for n, t in load_file(kohya).items()}, kohya)
    with pytest.raises(UserError, match=r"^import\.path: the effect is exactly zero"):
        bring_in(project, str(kohya))
    assert not paths.FINETUNED.exists()


def train_or_bring_in(project: Path, method: str, files: dict[str, Path]) -> None:
    if method in files:
        bring_in(project, str(files[method]))
    else:
        edit_params(project, "finetune", method=method, learning_rate=5e-2)
        finetune.main()


def bring_in(project: Path, path: str) -> bytes:
    """The bytes of the pictures that imported weights draw."""
    edit_params(project, "finetune", method="import")
    edit_params(project, "import", path=path)
    shutil.rmtree(paths.FINETUNED, ignore_errors=True)  # as DVC does
    finetune.main()
    return sample_bytes("finetuned")


def train_sample_and_export(project: Path, **changes: object) -> bytes:
    edit_params(project, "finetune", learning_rate=5e-2, **changes)
    finetune.main()
    pictures = sample_bytes("finetuned")
    export.main()
    return pictures


def sample_bytes(variant: str) -> bytes:
    sample.main(variant)
    return paths.SAMPLES[variant].read_bytes()


def score_and_compare() -> pd.DataFrame:
    """The verdict of each set."""
    for variant in paths.VARIANTS:
        score.main(variant)
    compare.main()
    return pd.read_csv(paths.COMPARISON_TABLES / "by_set.csv")


def read_levels(variant: str) -> np.ndarray:
    """All pictures, (N, H, W, 3), as int."""
    return np.stack(
        [decode_levels(image) for image in read_samples(paths.SAMPLES[variant])["image"]]
    )
