"""Two processes on the CPU give what one gives; started here as the launcher would start them.

What the launcher itself does when one of them fails is in test_launch.py.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from stages import embed, encode, finetune, sample, score
from stages.config import paths
from stages.files.tables import read_csv, read_json
from stages.run.processes import get_rank
from stages.sampling import batches
from tests.e2e.processes import run_processes
from tests.pictures import read_samples
from tests.tiny import build_scorer
from tests.unit.stable_diffusion_project import build_project, edit_params, teach_subject

SAMPLES = paths.SAMPLES["baseline"]
pytestmark = pytest.mark.thorough

MAINS = {
    "encode": encode.main,
    "finetune": finetune.main,
    "embed": embed.main,
    "score": score.main,
}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("processes") / "project"
    build_project(folder)
    build_scorer(folder / "models/tiny-scorer")
    edit_params(folder, "finetune", gradient_accumulation_steps=2, snr_gamma=5.0, noise_offset=0.1)
    edit_params(folder, "sample", images_per_in_domain_prompt=3, images_per_marketing_prompt=3)
    edit_params(folder, "score", batch_size=2)
    run(folder, 1, "encode")
    run(folder, 1, "embed")
    return folder


def test_two_processes_sample_the_same_bytes_as_one(project: Path) -> None:
    alone, together = (sample_afresh(project, count) for count in (1, 2))
    assert len(read_samples(project / SAMPLES)) == 9
    assert together == alone


def test_both_processes_sample(project: Path) -> None:
    shutil.rmtree(project / paths.SCRATCH, ignore_errors=True)
    run(project, 2, "sample", "baseline")
    ranks = [int((project / f"pictures_{rank}.txt").read_text()) for rank in (0, 1)]
    assert ranks == [5, 4]  # of five batches, the last of which is one picture


def test_two_processes_sample_only_what_is_missing(project: Path) -> None:
    expected = sample_afresh(project, 1)
    shutil.rmtree(project / paths.SCRATCH)
    run_processes(project, 1, sample_without_merging, "baseline")
    batches = sorted(project.glob("scratch/sample@baseline/*/batch_*.parquet"))
    assert len(batches) == 5
    for batch in batches[1:]:
        batch.unlink()
    run(project, 2, "sample", "baseline")
    ranks = [int((project / f"pictures_{rank}.txt").read_text()) for rank in (0, 1)]
    assert ranks == [4, 3]
    assert (project / SAMPLES).read_bytes() == expected


def test_two_processes_score_as_one(project: Path) -> None:
    sample_afresh(project, 1)
    tables = []
    for count in (1, 2):
        run(project, count, "score", "baseline")
        tables.append(read_folder(project / "data/scores"))
    assert sorted(tables[0])[:2] == ["baseline.csv", "baseline.json"]
    assert tables[1] == tables[0]


def test_two_processes_train_as_one_with_the_doubled_batch(project: Path) -> None:
    """Each of two computes half of a batch, so one computes the double of what each does."""
    alone, together = (train(project, count) for count in (1, 2))
    assert (together["num_processes"], alone["num_processes"]) == (2, 1)
    # The loss of a batch is a mean in float32, here of halves: its order of summation differs.
    np.testing.assert_allclose(together["losses"], alone["losses"], rtol=2e-6)
    np.testing.assert_allclose(together["validation"], alone["validation"], rtol=2e-5)
    for name, weight in alone["weights"].items():
        # Adam divides by the root of the second moment, which enlarges what rounding leaves.
        np.testing.assert_allclose(together["weights"][name], weight, rtol=0, atol=5e-5)


def test_two_processes_train_and_sample_experts_as_one(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    edit_params(folder, "finetune", method="hydra_lora", adam_epsilon=1e-3)
    alone, together = (train(folder, count, "hydra_lora.safetensors") for count in (1, 2))
    np.testing.assert_allclose(together["losses"], alone["losses"], rtol=2e-6)
    for name, weight in alone["weights"].items():
        np.testing.assert_allclose(together["weights"][name], weight, rtol=0, atol=5e-6)
    one, two = (sample_afresh(folder, count, "finetuned") for count in (1, 2))
    assert "experts" in pd.read_parquet(folder / paths.SAMPLES["finetuned"])
    assert one == two


def test_a_half_of_the_batch_would_be_seen(project: Path) -> None:
    """The control of the test above: what it allows is far less than what a batch changes."""
    alone = train(project, 1)
    edit_params(project, "finetune", train_batch_size=2)
    half = train(project, 1)
    edit_params(project, "finetune", train_batch_size=4)
    assert max(abs(half["losses"] - alone["losses"])) > 1e-3


def test_one_process_goes_on_from_a_checkpoint_of_two(project: Path) -> None:
    expected = train(project, 2)
    results = [project / paths.FINETUNED, project / paths.LOSS]
    before = (results[0] / "unet.safetensors").read_bytes(), results[1].read_bytes()
    shutil.rmtree(results[0])
    run(project, 1, "finetune")
    assert (results[0] / "unet.safetensors").read_bytes() == before[0]
    assert results[1].read_bytes() == before[1]
    assert expected["losses"].size == 4


def test_two_processes_share_the_prior_out_and_train_as_one(project: Path, tmp_path: Path) -> None:
    folder = tmp_path / "project"
    shutil.copytree(project, folder)
    counts = {
        "num_pictures": 4,
        "num_held_out_pictures": 2,
        "num_prior_pictures": 20,
    }  # two batches
    edit_params(folder, "subject", **counts)
    edit_params(folder, "finetune", method="full", data="subject", adam_epsilon=1e-3)
    teach_subject(folder)
    run(folder, 1, "encode")
    alone, together = (train(folder, count) for count in (1, 2))
    np.testing.assert_allclose(together["losses"], alone["losses"], rtol=2e-6)
    for name, weight in alone["weights"].items():
        np.testing.assert_allclose(together["weights"][name], weight, rtol=0, atol=5e-6)


def train(project: Path, count: int, file: str = "unet.safetensors") -> dict:
    """Train from the start; what came of it."""
    shutil.rmtree(project / paths.SCRATCH, ignore_errors=True)
    run(project, count, "finetune")
    losses = read_csv(project / paths.LOSS, {"loss": "float64"}, "finetune")
    validation = read_csv(project / paths.VALIDATION_LOSS, {}, "finetune")
    return {
        "weights": load_file(project / paths.FINETUNED / file),
        "losses": losses["loss"].to_numpy(),
        "validation": validation["validation_loss"].to_numpy(),
        "num_processes": read_json(project / paths.TRAINING, "")["num_processes"],
    }


def sample_afresh(project: Path, count: int, variant: str = "baseline") -> bytes:
    """The pictures of a variant."""
    shutil.rmtree(project / paths.SCRATCH, ignore_errors=True)
    run(project, count, "sample", variant)
    return (project / paths.SAMPLES[variant]).read_bytes()


def run(folder: Path, count: int, name: str, *args: str) -> None:
    """Run a stage in so many processes to its end."""
    for rank in range(count):
        (folder / f"pictures_{rank}.txt").unlink(missing_ok=True)
    main = sample_and_count if name == "sample" else MAINS[name]
    run_processes(folder, count, main, *args)


def sample_and_count(*args: str) -> None:
    """Run `sample`, and note how many pictures this process sampled."""
    sizes, real = [], batches.sample_pictures

    def count_pictures(sampler: object, prompts: list[str], seeds: list[int]) -> object:
        sizes.append(len(prompts))
        return real(sampler, prompts, seeds)

    batches.sample_pictures = count_pictures
    sample.main(*args)
    Path(f"pictures_{get_rank()}.txt").write_text(str(sum(sizes)))


def sample_without_merging(*args: str) -> None:
    """Run `sample` until each of its batches is in scratch."""
    batches.merge_tables = lambda *_: sys.exit(0)
    sample.main(*args)


def read_folder(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}
