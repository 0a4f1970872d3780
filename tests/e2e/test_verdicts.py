"""The three verdicts that must come out, on the shipped tiny base.

Fine-tuning that does nothing, one that destroys, one that repairs. Stages run in this process, on
fewer prompts and steps than by default.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from stages import compare, embed, encode, finetune, preflight, prepare, sample, score
from stages.config import paths
from stages.files.tensors import read_finetuned, write_finetuned
from stages.sources.drawing.pictures import draw_picture
from stages.sources.drawing.things import CLASS_NAMES
from tests.unit.stable_diffusion_project import edit_params, write_params

ROOT = Path(__file__).parents[2]
WEIGHTS = "models/tiny/unet/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The shipped models, 20 pairs, 20 in-domain and 6 marketing prompts, a picture each."""
    folder = tmp_path_factory.mktemp("verdicts")
    build_project(folder)
    yield from run_in(folder)


@pytest.fixture
def damaged_project(tmp_path: Path) -> Iterator[Path]:
    """As `project`, but with noise on the base's attn2, and illustrations, its domain, to learn."""
    build_project(tmp_path)
    for name in CLASS_NAMES:
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for seed in range(24):
            picture = draw_picture("illustration", name, 3_000_000 + seed)
            picture.image.save(tmp_path / "pictures" / name / f"{seed:02d}.png")
    data = {"source": "imagefolder", "root": "pictures"}
    edit_params(tmp_path, "bases", tiny={"data": data})
    edit_params(tmp_path, "prepare", num_pairs=220, num_validation_pairs=20)
    edit_params(tmp_path, "finetune", learning_rate=1e-3, max_train_steps=120, train_batch_size=8)
    weights = load_file(tmp_path / WEIGHTS)
    generator = torch.Generator().manual_seed(0)
    for name, weight in weights.items():
        if ".attn2.to_" in name:
            noise = torch.randn(weight.shape, generator=generator) * weight.float().std()
            weights[name] = (weight.float() + 2 * noise).half()
    save_file(weights, tmp_path / WEIGHTS, metadata={"format": "pt"})
    yield from run_in(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"learning_rate": 0.0}, pytest.param({"max_train_steps": 0}, marks=pytest.mark.thorough)],
)
def test_training_nothing_is_no_difference(project: Path, changes: dict) -> None:
    edit_params(project, "finetune", **({"max_train_steps": 2} | changes))
    finetune.main()
    by_set = compare_variants()
    assert (by_set["difference"] == 0).all()
    assert (by_set["verdict"] == "no difference shown").all()
    by_class = pd.read_csv(paths.COMPARISON_TABLES / "by_class.csv")
    for verdict in ("verdict", "given_prompts_verdict"):
        assert (by_class[verdict] == "no difference shown").all()
    for table in (by_class, pd.read_csv(paths.COMPARISON_TABLES / "by_metric.csv")):
        assert (table["difference"] == 0).all()


def test_a_destroyed_model_is_worse_and_its_collapse_is_named(
    project: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    edit_params(project, "finetune", max_train_steps=0)
    finetune.main()
    weights, config = read_finetuned(paths.FINETUNED)
    generator = torch.Generator().manual_seed(0)
    noise = {n: torch.randn(w.shape, generator=generator) * 1e3 for n, w in weights.items()}
    write_finetuned(paths.FINETUNED, noise, config)
    in_domain = compare_variants().set_index("set").loc["in_domain"]
    assert in_domain["verdict"] == "worse"
    assert in_domain["p_value"] < 0.01
    assert "Collapse: zero-shot accuracy on in-domain prompts fell from" in caplog.text


@pytest.mark.thorough
def test_a_damaged_base_that_learns_its_own_domain_again_is_better(damaged_project: Path) -> None:
    finetune.main()
    in_domain = compare_variants().set_index("set").loc["in_domain"]
    assert in_domain["verdict"] == "better"
    assert in_domain["p_value"] < 0.01


def build_project(folder: Path) -> None:
    """Params for a quick run, and a copy of the shipped models."""
    write_params(folder)
    for name in ("models/tiny", "models/tiny-scorer"):
        shutil.copytree(ROOT / name, folder / name)
    edit_params(folder, "prompts", protocol="paper", class_templates=["a photo of a {}", "a {}"])
    edit_params(folder, "prepare", num_pairs=20, num_validation_pairs=10)
    edit_params(
        folder,
        "sample",
        num_inference_steps=12,
        images_per_in_domain_prompt=1,
        images_per_marketing_prompt=1,
    )


def run_in(folder: Path) -> Iterator[Path]:
    """Run the stages up to where the tests differ, in the folder."""
    before, num_threads = Path.cwd(), torch.get_num_threads()
    os.chdir(folder)
    try:
        for stage in (preflight, prepare, embed, encode):
            stage.main()
        sample.main("baseline")
        yield folder
    finally:
        os.chdir(before)
        torch.set_num_threads(num_threads)


def compare_variants() -> pd.DataFrame:
    """Sample the fine-tuned variant, score both and compare them: the table by set."""
    sample.main("finetuned")
    for variant in paths.VARIANTS:
        score.main(variant)
    compare.main()
    return pd.read_csv(paths.COMPARISON_TABLES / "by_set.csv")
