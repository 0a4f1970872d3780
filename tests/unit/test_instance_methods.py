"""textual_inversion and dreambooth across stages, on a micro base: what they promise."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from stages import finetune, instance, preflight, resemblance, sample
from stages.commands import export
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import INSTANCE_METHODS, load_params
from stages.files.instance import RESEMBLANCE_SCHEMA, read_instance_pictures
from stages.files.tables import read_csv, read_json
from stages.sampling import instance as sampling
from tests.tiny import build_base, build_scorer
from tests.unit.stable_diffusion_project import (
    build_project,
    edit_params,
    enter_copy,
    kill_after,
)

MODEL = "models/tiny"
WORD = paths.FINETUNED / "learned_embeds.safetensors"
SMALL = {"num_pictures": 4, "num_held_out_pictures": 2, "images_per_prompt": 2}
RATES = {"textual_inversion": 0.5, "dreambooth": 2e-2}


@pytest.fixture(scope="module")
def built_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "project"
    build_project(folder)
    build_scorer(folder / "models/tiny-scorer")
    prompts = ["a photo of a {}", "a {} in a room", "a {}"]
    edit_params(folder, "instance", **SMALL, prompt_templates=prompts)
    dreambooth = {"num_prior_pictures": 5, "num_inference_steps": 2}
    edit_params(folder, "finetune", dreambooth=dreambooth)
    return folder


@pytest.fixture
def project(built_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(built_project, tmp_path, monkeypatch)


def test_a_word_is_all_that_is_trained_and_other_prompts_change_by_exactly_0(
    project: Path,
) -> None:
    teach(project, "textual_inversion")
    metrics = read_json(paths.FINETUNE_METRICS, "finetune")
    assert {name: tuple(w.shape) for name, w in load_file(WORD).items()} == {"<my-frog>": (2, 16)}
    assert metrics["num_trainable_parameters"] == 32
    assert metrics["validation_loss_change"] < 0
    for variant in paths.VARIANTS:
        sample.main(variant)
    baseline, finetuned = (read_folder(paths.SAMPLES / variant) for variant in paths.VARIANTS)
    assert baseline == finetuned
    assert len(baseline) == 5


def test_plain_diffusers_loads_the_word_and_draws_the_same_picture(project: Path) -> None:
    teach(project, "textual_inversion", textual_inversion={"num_vectors": 2})
    resemblance.main()
    export.main()
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL)
    pipeline.load_textual_inversion(paths.FINETUNED)
    assert_draws_what_resemblance_drew(pipeline)
    exported = StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline")
    assert_draws_what_resemblance_drew(exported)


def test_the_exported_dreambooth_pipeline_draws_the_same_picture(project: Path) -> None:
    teach(project, "dreambooth")
    resemblance.main()
    export.main()
    exported = StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline")
    assert_draws_what_resemblance_drew(exported)
    metrics = read_json(paths.FINETUNE_METRICS, "finetune")
    assert metrics["trainable_fraction"] == 1
    assert metrics["validation_loss_change"] < 0


@pytest.mark.parametrize("method", INSTANCE_METHODS)
@pytest.mark.parametrize("option", [{}, {"ema_decay": 0.9, "snr_gamma": 5.0}])
def test_a_killed_training_goes_on_to_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str, option: dict[str, float]
) -> None:
    teach(project, method, **option)
    expected = read_folder(paths.FINETUNED), paths.LOSS.read_bytes()
    shutil.rmtree(paths.SCRATCH)
    with monkeypatch.context() as patch:
        patch.setattr(finetune, "train", kill_after(finetune.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    finetune.main()
    assert (read_folder(paths.FINETUNED), paths.LOSS.read_bytes()) == expected


def test_a_word_that_cannot_move_is_an_error(project: Path) -> None:
    with pytest.raises(UserError, match=r"moved; raise finetune\.learning_rate"):
        teach(project, "textual_inversion", learning_rate=1e-30, adam_weight_decay=0.0)


def test_zero_steps_draw_the_initializers_picture_and_no_difference(project: Path) -> None:
    teach(project, "textual_inversion", textual_inversion={"num_vectors": 1}, max_train_steps=0)
    resemblance.main()
    metrics = read_json(paths.INSTANCE_METRICS, "resemblance")
    assert metrics["instance_similarity_difference"] == 0
    assert metrics["instance_similarity_ci_low"] == metrics["instance_similarity_ci_high"] == 0
    baseline, finetuned = (read_folder(paths.INSTANCE_SAMPLES / v) for v in paths.VARIANTS)
    assert baseline == finetuned
    assert len(baseline) == 6


def test_resemblance_is_that_of_the_pictures_that_it_writes(project: Path) -> None:
    teach(project, "dreambooth")
    resemblance.main()
    pairs = read_csv(paths.RESEMBLANCE, RESEMBLANCE_SCHEMA, "resemblance")
    metrics = read_json(paths.INSTANCE_METRICS, "resemblance")
    assert len(pairs) == metrics["num_instance_images"] == 6
    assert metrics["num_instance_prompts"] == 3
    assert metrics["instance_similarity_difference"] == pytest.approx(
        (pairs["finetuned"] - pairs["baseline"]).mean()
    )
    groups = {
        variant: [
            Image.open(paths.INSTANCE_SAMPLES / variant / name) for name in pairs["file_name"]
        ]
        for variant in paths.VARIANTS
    }
    thing = read_instance_pictures(paths.INSTANCE)
    groups["held_out"] = resemblance.decode_pictures(thing[thing["split"] == "held_out"])
    embeds = resemblance.embed_groups(groups, load_params())
    for variant in paths.VARIANTS:
        cosines = (embeds[variant] @ embeds["held_out"].T).mean(axis=1)
        np.testing.assert_allclose(pairs[variant], cosines, atol=1e-6)


def test_a_killed_comparison_keeps_finished_batches(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teach(project, "textual_inversion")
    resemblance.main()  # from now on all modules are loaded that the hash of the code covers
    shutil.rmtree(paths.SCRATCH)
    resemblance.main()
    expected = read_folder(paths.INSTANCE_SAMPLES / "finetuned"), paths.RESEMBLANCE.read_bytes()
    batches = sorted(paths.SCRATCH.glob("resemblance/*/*/batch_*.safetensors"))
    assert len(batches) == 6  # three of two pictures for each variant
    batches[-1].unlink()
    real, sizes = sampling.sample_pictures, []
    monkeypatch.setattr(
        sampling,
        "sample_pictures",
        lambda s, prompts, seeds: sizes.append(len(prompts)) or real(s, prompts, seeds),
    )
    resemblance.main()
    assert sizes == [2]
    after = read_folder(paths.INSTANCE_SAMPLES / "finetuned"), paths.RESEMBLANCE.read_bytes()
    assert after == expected


def test_other_methods_leave_both_outputs_empty(project: Path) -> None:
    instance.main()
    resemblance.main()
    assert read_json(paths.INSTANCE_METRICS, "resemblance") == {}
    assert [path.name for path in paths.INSTANCE_SAMPLES.iterdir()] == ["scores.csv"]
    assert pd.read_csv(paths.RESEMBLANCE).empty


def test_a_word_of_another_text_encoder_is_refused(project: Path) -> None:
    teach(project, "textual_inversion")
    shutil.copytree(project / MODEL / "unet", project / "unet")
    build_base(project / MODEL, seed=1)
    shutil.copytree(project / "unet", project / MODEL / "unet", dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"another base than models/tiny \(text encoder"):
        resemblance.main()
    with pytest.raises(UserError, match=r"another base than models/tiny \(text encoder"):
        export.main()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placeholder": "cat"}, "instance.placeholder: cat is in the base's vocabulary"),
        ({"initializer": "umbrella"}, r"instance.initializer: umbrella is \d+ tokens"),
    ],
)
def test_preflight_refuses_a_bad_word(project: Path, changes: dict[str, str], message: str) -> None:
    edit_params(project, "instance", **changes)
    edit_params(project, "finetune", method="textual_inversion")
    params = load_params()
    with pytest.raises(UserError, match=message):
        preflight.check_words(params.chosen, params.finetune, params.instance)


def test_preflight_names_a_picture_that_is_not_whole(project: Path) -> None:
    (project / "mine").mkdir()
    for number in range(6):
        (project / f"mine/{number}.png").write_bytes(b"\x89PNG\r\n")
    edit_params(project, "instance", source="imagefolder", root="mine")
    with pytest.raises(UserError, match=r"mine/\d.png: not a picture"):
        preflight.open_instance_pictures(load_params().instance)


def teach(project: Path, method: str, **changes: object) -> None:
    values = {"learning_rate": RATES[method], "lr_scheduler": "constant"} | changes
    edit_params(project, "finetune", method=method, **values)
    instance.main()
    finetune.main()


def assert_draws_what_resemblance_drew(pipeline: StableDiffusionPipeline) -> None:
    """The first picture of the thing, but not that of the class, to one level."""
    row = read_csv(paths.RESEMBLANCE, RESEMBLANCE_SCHEMA, "resemblance").iloc[0]
    baseline, finetuned = (
        np.asarray(Image.open(paths.INSTANCE_SAMPLES / v / row["file_name"]), dtype=int)
        for v in paths.VARIANTS
    )
    drawn = draw(pipeline, row)
    assert np.abs(drawn - finetuned).max() <= 1  # float32 rounding
    assert np.abs(drawn - baseline).max() > 10


def draw(pipeline: StableDiffusionPipeline, row: pd.Series) -> np.ndarray:
    """Levels (H, W, 3) as int."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(int(row["seed"]))
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    prompt = row["finetuned_prompt"]
    image = pipeline(prompt, latents=latents, num_inference_steps=2, guidance_scale=7.5)
    return np.asarray(image.images[0], dtype=int)


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
