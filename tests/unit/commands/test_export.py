"""What `make export` writes, loaded with plain diffusers, draws what the stage `sample` drew."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from huggingface_hub import ModelCard, constants
from safetensors.torch import load_file

from stages import finetune, sample
from stages.base.base_files import describe_base
from stages.commands import export
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.files.tables import read_json
from tests.fake_hub import COMMIT, write_cache
from tests.pictures import decode_levels, read_samples
from tests.unit.stable_diffusion_project import edit_params

MODEL = "models/tiny"
LORA = {"rank": 2, "alpha": 5, "targets": ["to_k", "to_out.0"], "use_dora": False}


@pytest.mark.parametrize("method", ["attn2", "full"])
def test_the_exported_pipeline_draws_the_same_picture(project: Path, method: str) -> None:
    train_and_export(project, method=method)
    assert_draws_the_sample(StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline"))
    assert not (paths.EXPORTED / "lora.safetensors").exists()
    assert read_json(paths.EXPORTED / "finetune.json", "export")["method"] == method


def test_pipeline_and_both_adapter_files_draw_the_same_picture(project: Path) -> None:
    train_and_export(project, method="lora", lora=LORA)
    assert_draws_the_sample(StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline"))
    for file in (paths.FINETUNED, paths.EXPORTED / "lora.safetensors"):
        pipeline = StableDiffusionPipeline.from_pretrained(MODEL)
        pipeline.load_lora_weights(file)
        assert_draws_the_sample(pipeline)


def test_dora_is_exported_as_a_pipeline_alone(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    train_and_export(project, method="lora", lora=LORA | {"use_dora": True})
    assert_draws_the_sample(StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline"))
    assert not (paths.EXPORTED / "lora.safetensors").exists()
    assert "no reliable place for DoRA" in caplog.text


@pytest.mark.thorough
def test_experts_are_exported_alone_and_the_card_has_what_loads_them(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    edit_params(project, "import", strength=0.5)
    train_and_export(project, method="hydra_lora", lora=LORA)
    assert "no pipeline: what the experts add depends on each token" in caplog.text
    files = {path.name for path in paths.EXPORTED.iterdir()}
    assert files == {"README.md", "finetune.json", "hydra_lora.safetensors"}
    lines = read_snippet().splitlines()
    assert lines.pop().startswith('pipe("a photo of')
    row = read_samples(paths.SAMPLES["finetuned"]).iloc[0]
    levels = draw_elsewhere(lines, row)
    assert np.abs(levels - decode_levels(row["image"])).max() <= 1
    base = StableDiffusionPipeline.from_pretrained(MODEL)
    assert np.abs(draw(base, row) - levels).max() > 10


def test_the_adapter_has_kohyas_names(project: Path) -> None:
    train_and_export(project, method="lora", lora=LORA)
    module = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn2_to_out_0"
    weights = load_file(paths.EXPORTED / "lora.safetensors")
    assert weights[f"{module}.lora_down.weight"].shape == (2, 8)
    assert weights[f"{module}.lora_up.weight"].shape == (8, 2)
    assert weights[f"{module}.alpha"].item() == 5


def test_the_snippet_of_the_card_loads_what_was_exported(
    project: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    edit_params(project, "finetune", method="attn2", max_train_steps=1)
    finetune.main()
    export.main("apache-2.0")
    assert "the card has no verdict" in caplog.text
    assert ModelCard.load(paths.EXPORTED / "README.md").data.license == "apache-2.0"
    snippet = read_snippet()
    monkeypatch.chdir(paths.EXPORTED)
    exec(snippet.replace(").images", ", num_inference_steps=1).images"))


def test_a_downloaded_base_is_exported_from_the_files_that_the_stages_fetch(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit_params(project, "finetune", learning_rate=5e-2)
    finetune.main()
    sample.main("finetuned")
    needs = [need[0] for need in describe_base(load_params().chosen).wanted]
    files = [need for need in needs if Path(MODEL, need).exists()]
    files += ["tokenizer/tokenizer.json"]  # instead of vocabulary and merges
    cache = tmp_path / "hub"
    write_cache(cache, "somebody/micro", {file: Path(MODEL, file).read_bytes() for file in files})
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    edit_params(project, "bases", tiny={"model": "somebody/micro", "revision": COMMIT})
    export.main()
    exported = StableDiffusionPipeline.from_pretrained(paths.EXPORTED / "pipeline")
    assert_draws_the_sample(exported)
    theirs = StableDiffusionPipeline.from_pretrained(MODEL).scheduler
    assert type(exported.scheduler) is type(theirs)
    assert exported.scheduler.config == theirs.config


def test_before_training_the_stage_to_run_is_named(project: Path) -> None:
    with pytest.raises(UserError, match="dvc repro finetune"):
        export.main()


def train_and_export(project: Path, **changes: object) -> None:
    edit_params(project, "finetune", learning_rate=5e-2, **changes)
    finetune.main()
    sample.main("finetuned")
    export.main()


def read_snippet() -> str:
    """The lines of Python on the card."""
    found = re.search(r"```python\n(.*?)```", (paths.EXPORTED / "README.md").read_text(), re.DOTALL)
    assert found
    return found[1]


def draw_elsewhere(lines: list[str], row: dict) -> np.ndarray:
    """Levels (H, W, 3) that a process of its own draws with the pipeline `pipe` of some lines."""
    seed, prompt = int(row["seed"]), row["prompt"]
    lines = [
        *lines,
        "import numpy as np, pandas as pd",
        "from tests.unit.commands.test_export import draw",
        f"np.save('levels.npy', draw(pipe, {{'seed': {seed}, 'prompt': {prompt!r}}}))",
    ]
    subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        check=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )
    return np.load("levels.npy")


def assert_draws_the_sample(pipeline: StableDiffusionPipeline) -> None:
    """The first fine-tuned picture, but not that of the base, to one level."""
    row = read_samples(paths.SAMPLES["finetuned"]).iloc[0]
    sampled = decode_levels(row["image"])
    assert np.abs(draw(pipeline, row) - sampled).max() <= 1  # float32 rounding
    base = StableDiffusionPipeline.from_pretrained(MODEL)
    assert np.abs(draw(base, row) - sampled).max() > 10


def draw(pipeline: StableDiffusionPipeline, row: dict) -> np.ndarray:
    """Levels (H, W, 3) as int."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(int(row["seed"]))
    latents = torch.randn(1, 4, 16, 16, generator=generator)
    image = pipeline(row["prompt"], latents=latents, num_inference_steps=2, guidance_scale=7.5)
    return np.asarray(image.images[0], dtype=int)
