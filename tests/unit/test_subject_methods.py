"""`finetune.data: subject` across stages, on a micro base: what each method promises."""

import io
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from safetensors.torch import load_file

from stages import embed, encode, finetune, preflight, sample, score
from stages.commands import export
from stages.config import paths
from stages.config.mistakes import UserError
from stages.files.embeds import read_pair_embeds
from stages.files.tables import read_json, read_scores
from stages.scoring.embed import embed_images
from stages.scoring.metrics import dino, pretrained
from stages.scoring.scorer import load_scorer
from stages.training import resume
from tests.pictures import decode_levels, name_images, read_samples
from tests.tiny import build_base, build_scorer
from tests.unit.stable_diffusion_project import (
    build_project,
    edit_params,
    enter_copy,
    kill_after,
    teach_subject,
)

MODEL = "models/tiny"
WORD = paths.FINETUNED / "learned_embeds.safetensors"
SMALL = {"num_pictures": 4, "num_held_out_pictures": 2, "num_prior_pictures": 5}
RATES = {"textual_inversion": 0.5, "full": 2e-2, "lora": 2e-2, "hydra_lora": 2e-2}


@pytest.fixture(scope="module")
def built_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "project"
    build_project(folder)
    build_scorer(folder / "models/tiny-scorer")
    edit_params(folder, "subject", **SMALL)
    edit_params(folder, "prompts", subject_templates=["a photo of a {}", "a {} in a room", "a {}"])
    edit_params(folder, "sample", images_per_subject_prompt=2)
    edit_params(folder, "finetune", data="subject")
    return folder


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.training.lesson.PRIOR_STEPS", 2)


@pytest.fixture
def project(built_project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(built_project, tmp_path, monkeypatch)


def test_a_word_is_all_that_is_trained_and_other_prompts_change_by_exactly_0(
    project: Path,
) -> None:
    teach(project, "textual_inversion")
    metrics = read_json(paths.TRAINING, "finetune")
    assert {name: tuple(w.shape) for name, w in load_file(WORD).items()} == {"<my-frog>": (2, 16)}
    assert metrics["num_trainable_parameters"] == 32
    assert metrics["validation_loss_change"] < 0
    for variant in paths.VARIANTS:
        sample.main(variant)
    baseline, finetuned = (read_samples(paths.SAMPLES[variant]) for variant in paths.VARIANTS)
    is_same = baseline["image"] == finetuned["image"]
    assert is_same.groupby(baseline["set"]).all().to_dict() == {
        "in_domain": True,
        "marketing": True,
        "subject": False,
    }
    assert len(baseline) == 4 + 6


def test_plain_diffusers_loads_the_word_and_draws_the_same_picture(project: Path) -> None:
    teach(project, "textual_inversion", textual_inversion={"num_vectors": 2})
    sample_both()
    export.main()
    pipeline = StableDiffusionPipeline.from_pretrained(MODEL)
    pipeline.load_textual_inversion(paths.FINETUNED)
    assert_draws_what_was_sampled(pipeline)
    exported = StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline")
    assert_draws_what_was_sampled(exported)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_the_exported_pipeline_draws_the_same_picture_of_the_subject(
    project: Path, method: str
) -> None:
    teach(project, method)
    sample_both()
    export.main()
    exported = StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline")
    assert_draws_what_was_sampled(exported)
    assert "a photo of a sks frog" in (paths.EXPORTED / "README.md").read_text()
    metrics = read_json(paths.TRAINING, "finetune")
    assert (metrics["trainable_fraction"] == 1) == (method == "full")
    assert metrics["validation_loss_change"] < 0


@pytest.mark.parametrize("method", RATES)
@pytest.mark.parametrize(
    "option",
    [pytest.param({}, marks=pytest.mark.thorough), {"ema_decay": 0.9, "snr_gamma": 5.0}],
)
def test_a_killed_training_goes_on_to_the_same_bytes(
    project: Path, monkeypatch: pytest.MonkeyPatch, method: str, option: dict[str, float]
) -> None:
    teach(project, method, **option)
    expected = read_folder(paths.FINETUNED), paths.LOSS.read_bytes()
    shutil.rmtree(paths.SCRATCH)
    with monkeypatch.context() as patch:
        patch.setattr(resume, "train", kill_after(resume.train, 3))
        with pytest.raises(KeyboardInterrupt):
            finetune.main()
    finetune.main()
    assert (read_folder(paths.FINETUNED), paths.LOSS.read_bytes()) == expected


def test_a_word_that_cannot_move_is_an_error(project: Path) -> None:
    with pytest.raises(UserError, match=r"moved; raise finetune\.learning_rate"):
        teach(project, "textual_inversion", learning_rate=1e-30, adam_weight_decay=0.0)


def test_zero_steps_draw_the_initializers_picture(project: Path) -> None:
    teach(project, "textual_inversion", textual_inversion={"num_vectors": 1}, max_train_steps=0)
    sample_both()
    baseline, finetuned = (name_images(path) for path in paths.SAMPLES.values())
    assert baseline == finetuned


def test_similarity_is_that_of_the_pictures_to_those_held_out(project: Path) -> None:
    teach(project, "full")
    sample_both()
    embed.main()
    score.main("finetuned")
    scores = read_scores(paths.SCORES["finetuned"])
    scorer = load_scorer("local-dir:models/tiny-scorer", None)
    images = name_images(paths.SAMPLES["finetuned"]).values()
    embeds = embed_images(scorer, [Image.open(io.BytesIO(data)) for data in images]).numpy()
    held_out = read_pair_embeds(paths.IMAGE_EMBEDS).select("subject_held_out")
    assert held_out.rows["source_id"].str.startswith("drawn/").all()
    expected = (embeds @ held_out.image_embeds.T).mean(axis=1)
    np.testing.assert_allclose(scores["subject_similarity"], expected, atol=1e-6)
    assert scores["set"].value_counts()["subject"] == 6


def test_dino_compares_a_picture_with_each_that_is_held_out(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    model = timm.create_model("test_vit", img_size=32, num_classes=0).eval()
    build = {f"hf-hub:{dino.WEIGHTS}": model}
    assert timm.get_pretrained_cfg("vit_small_patch16_224.dino").hf_hub_id == dino.WEIGHTS
    monkeypatch.setattr(timm, "create_model", lambda name, *, pretrained: build[name])
    monkeypatch.setattr(pretrained, "_check_file", lambda *_: None)  # it would ask the hub
    edit_params(project, "score", extra_metrics=["dino"])
    teach(project, "full")
    sample_both()
    embed.main()
    score.main("finetuned")
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))

    def look(data: bytes) -> torch.Tensor:
        with torch.no_grad():
            tokens = model.forward_features(transform(Image.open(io.BytesIO(data)))[None])
        return tokens[0, 0] / tokens[0, 0].norm()

    pairs = pd.read_parquet(paths.PAIRS)
    held_out = [look(data) for data in pairs["image"][pairs["split"] == "subject_held_out"]]
    images = name_images(paths.SAMPLES["finetuned"]).values()
    expected = [sum(look(data) @ other for other in held_out) / len(held_out) for data in images]
    found = read_scores(paths.SCORES["finetuned"])["dino"]
    np.testing.assert_allclose(found, [float(value) for value in expected], atol=1e-5)
    assert found.std() > 1e-4


def test_pairs_alone_give_no_similarity_to_a_subject(project: Path) -> None:
    encode.main()
    sample.main("baseline")
    embed.main()
    score.main("baseline")
    scores = read_scores(paths.SCORES["baseline"])
    assert "subject_similarity" not in scores
    assert set(scores["set"]) == {"in_domain", "marketing"}


def test_a_word_of_another_text_encoder_is_refused(project: Path) -> None:
    teach(project, "textual_inversion")
    shutil.copytree(project / MODEL / "unet", project / "unet")
    build_base(project / MODEL, seed=1)
    shutil.copytree(project / "unet", project / MODEL / "unet", dirs_exist_ok=True)
    with pytest.raises(UserError, match=r"another base than models/tiny \(text encoder"):
        sample.main("finetuned")
    with pytest.raises(UserError, match=r"another base than models/tiny \(text encoder"):
        export.main()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"placeholder": "cat"}, "subject.placeholder: cat is in the base's vocabulary"),
        ({"placeholder": "roo"}, "subject.placeholder: roo is a part of a word of .*room"),
        ({"initializer": "umbrella"}, r"subject.initializer: umbrella is \d+ tokens"),
    ],
)
def test_preflight_refuses_a_bad_word(project: Path, changes: dict[str, str], message: str) -> None:
    edit_params(project, "subject", **changes)
    edit_params(project, "finetune", method="textual_inversion")
    with pytest.raises(UserError, match=message):
        preflight.main()


def teach(project: Path, method: str, **changes: object) -> None:
    values = {"learning_rate": RATES[method], "lr_scheduler": "constant"} | changes
    edit_params(project, "finetune", method=method, **values)
    teach_subject(project)
    encode.main()
    finetune.main()


def sample_both() -> None:
    for variant in paths.VARIANTS:
        sample.main(variant)


def assert_draws_what_was_sampled(pipeline: StableDiffusionPipeline) -> None:
    """The first picture of the subject, but not that of its class, to one level."""
    samples = read_samples(paths.SAMPLES["finetuned"])
    row = samples[samples["set"] == "subject"].iloc[0]
    baseline, finetuned = (
        decode_levels(name_images(path)[row["file_name"]]) for path in paths.SAMPLES.values()
    )
    prompts = pd.read_csv(paths.PROMPTS).set_index("prompt_id")
    drawn = draw(pipeline, prompts.loc[row["prompt_id"], "finetuned_prompt"], int(row["seed"]))
    assert np.abs(drawn - finetuned).max() <= 1  # float32 rounding
    assert np.abs(drawn - baseline).max() > 10


def draw(pipeline: StableDiffusionPipeline, prompt: str, seed: int) -> np.ndarray:
    """Levels (H, W, 3) as int."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    image = pipeline(prompt, latents=latents, num_inference_steps=2, guidance_scale=7.5)
    return np.asarray(image.images[0], dtype=int)


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
