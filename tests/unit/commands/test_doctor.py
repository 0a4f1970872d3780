import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from huggingface_hub import constants

from stages import finetune, sample
from stages.base.components import load_unet
from stages.commands import doctor, measured, needs
from stages.config import paths
from stages.config.params import load_params
from stages.files.hub import Missing
from stages.files.tables import read_json
from tests.handed_in import make_rows, write_side
from tests.stable_diffusion import build_unet
from tests.tiny import build_scorer
from tests.unit.stable_diffusion_project import build_encoded_project, edit_params, enter_copy

ROOT = Path(__file__).parents[3]
HUB_NAME = "somebody/model"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "built"
    build_encoded_project(folder)
    build_scorer(folder / "models/tiny-scorer")
    shutil.copy(ROOT / "requirements.txt", folder)
    return folder


@pytest.fixture(autouse=True)
def project(built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return enter_copy(built, tmp_path, monkeypatch)


@pytest.fixture
def ask(capsys: pytest.CaptureFixture) -> Callable[..., tuple[int, list[str], dict[str, str]]]:
    """Call the doctor: its exit code, the lines before the table, and the table."""

    def call(base: str = "") -> tuple[int, list[str], dict[str, str]]:
        code = doctor.main(base)
        head, _, table = capsys.readouterr().out.partition("\n\n")
        name, rows = "", dict[str, str]()
        for line in table.splitlines():
            if line.startswith(("hf ", "curl ")):  # a command stands by itself, as it is copied
                rows[name] += f" {line}"
                continue
            name = line[: doctor.INDENT].strip() or name
            rows[name] = f"{rows.get(name, '')} {line[doctor.INDENT :]}".strip()
        return code, head.splitlines(), rows

    return call


def test_what_can_start_is_one_screen(ask) -> None:
    code, head, rows = ask()
    assert (code, head) == (0, ["The run can start."])
    assert [*rows] == ["software", "device", "run", "models", "data", "memory", "disk", "time"]
    assert f"torch {metadata.version('torch').partition('+')[0]}, " in rows["software"]
    assert "the CPU (no CUDA: " in rows["device"]
    assert rows["models"] == "models/tiny and local-dir:models/tiny-scorer"
    assert sum(map(len, rows.values())) < 24 * doctor.WIDTH


def test_nothing_is_written(ask, project: Path) -> None:
    before = hash_files(project)
    ask()
    assert hash_files(project) == before


def test_a_mistake_in_params_is_told_first_and_the_machine_all_the_same(ask, project: Path) -> None:
    edit_params(project, "finetune", max_train_steps=-1)
    code, head, rows = ask()
    assert code == 1
    assert head[0].startswith("error: params.yaml: finetune.max_train_steps: found -1; ")
    assert head[1] == "The run cannot start."
    assert [*rows] == ["software", "device"]


def test_it_answers_before_packages_are_installed(project: Path) -> None:
    # -S: Python without its site-packages, as before `make setup`.
    done = subprocess.run(
        [sys.executable, "-S", "-m", "stages.commands.doctor"],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    assert done.stdout.startswith("error: not installed: accelerate, diffusers, ")
    assert "; run `make setup`\nThe run cannot start.\n\nsoftware  Python " in done.stdout
    assert done.stderr == ""


def test_outside_of_the_project_the_doctor_says_so(ask, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    code, head, rows = ask()
    assert code == 1
    assert head[0].startswith("error: no requirements.txt in ")
    assert head[0].endswith("; run from the project's root")
    assert list(rows) == ["software"]


def test_a_mistake_that_several_rows_meet_is_told_once(ask, project: Path) -> None:
    edit_params(project, "finetune", method="lora", lora={"targets": ["abc"]})
    code, head, rows = ask()
    assert code == 1
    assert [line for line in head if "finetune.lora.targets: found abc" in line] == head[:1]
    assert rows["time"] == "see above"


def test_what_a_late_stage_would_miss_is_missed_here(ask, project: Path) -> None:
    edit_params(project, "launch", num_processes=2, config_file="nowhere.yaml")
    edit_params(project, "finetune", method="import")
    edit_params(project, "import", path="nowhere.safetensors")
    edit_params(project, "prompts", file="nowhere.csv")
    code, head, _ = ask()
    assert code == 1
    for key in ("launch.config_file", "import.path", "prompts.file"):
        assert [line for line in head if f"{key}: " in line and "nowhere" in line], key


def test_pictures_alone_need_no_base_and_have_to_be_there(ask, project: Path) -> None:
    rows_of = make_rows({"a cat": 2, "a hat": 1})
    named = {side: str(write_side(Path(side), rows_of)) for side in ("ours", "theirs")}
    edit_params(project, "pictures", baseline=named["ours"], finetuned=named["theirs"])
    shutil.rmtree("models/tiny")
    code, head, rows = ask()
    assert (code, head) == (0, ["The run can start."])
    assert rows["run"] == "ours and theirs are compared; nothing is trained or sampled"
    assert rows["models"] == "local-dir:models/tiny-scorer"
    assert rows["data"] == "3 pictures of baseline and 3 pictures of finetuned"
    assert not {"memory", "disk", "time"} & set(rows)
    shutil.rmtree("theirs")
    code, head, _ = ask()
    assert code == 1
    assert "pictures.finetuned" in head[0]


def test_make_doctor_installs_nothing() -> None:
    shown = subprocess.run(
        [
            "make",
            "-n",
            "--no-print-directory",
            "doctor",
            "VENV=nowhere",
            "PYTHON=some-python",
            "BASE=sd15",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "some-python -m stages.commands.doctor sd15\n"


def test_another_base_can_be_asked_for(ask) -> None:
    code, head, rows = ask("sd15")
    assert code == 1
    assert "fp16, which needs a CUDA GPU" in head[0]
    assert rows["run"].startswith("base sd15 (stable-diffusion-v1-5/")


def test_a_base_that_is_not_there_is_named(ask) -> None:
    code, head, _ = ask("sd16")
    assert code == 1
    assert head[0] == "error: base sd16: should be one of tiny, sd15"


def test_another_version_is_told_and_starts(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    real = metadata.version
    monkeypatch.setattr(
        metadata, "version", lambda name: "3.0" if name == "pandas" else f"{real(name)}+cu130"
    )
    code, _, rows = ask()
    assert code == 0
    pinned = real("pandas")
    assert rows["software"].endswith(f"other than in requirements.txt: pandas 3.0, not {pinned}")


def test_fp16_without_cuda_is_refused(ask, project: Path) -> None:
    edit_params(project, "bases", tiny={"precision": "fp16"})
    code, head, _ = ask()
    assert code == 1
    assert "found fp16, which needs a CUDA GPU" in head[0]
    assert len(head) == 2


def test_a_model_that_cannot_be_had_is_named_with_what_fetches_it(
    ask, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    edit_params(project, "bases", tiny={"model": HUB_NAME, "revision": "1" * 40})
    code, head, rows = ask()
    assert code == 1
    assert head[0].startswith(f"error: base model {HUB_NAME} (bases.*.model): ")
    assert "HF_HUB_OFFLINE is set" in head[0]
    assert f"this fetches it: hf download {HUB_NAME} --revision {'1' * 40} " in rows["models"]
    assert "not known until the base is here" in rows["memory"]


def test_a_model_that_the_run_will_download_is_no_obstacle(
    ask, project: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    small = float(re.search(r"up to ([\d.]+) GB", ask()[2]["disk"])[1])
    missing = Missing(("unet/config.json",), num_bytes=5 * 10**9)
    monkeypatch.setattr(needs, "find_missing", lambda _: missing)
    edit_params(project, "bases", tiny={"model": HUB_NAME})
    code, _, rows = ask()
    assert code == 0
    assert rows["models"].startswith(f"5.00 GB are not in {tmp_path}/hub; this fetches it: hf dow")
    large = float(re.search(r"up to ([\d.]+) GB", rows["disk"])[1])
    assert large - small == pytest.approx(5, abs=0.02)


def test_a_scorer_that_is_not_there_is_named(ask, project: Path) -> None:
    shutil.rmtree(project / "models/tiny-scorer")
    code, head, _ = ask()
    assert code == 1
    assert "models/tiny-scorer" in head[0]


def test_missing_pictures_are_named(ask, project: Path) -> None:
    edit_params(project, "bases", tiny={"data": {"source": "imagefolder", "root": "nowhere"}})
    code, head, rows = ask()
    assert code == 1
    assert "nowhere" in head[0]
    assert rows["data"] == "see above"


def test_cifar10_is_not_downloaded(ask, project: Path) -> None:
    edit_params(project, "bases", tiny={"data": {"source": "cifar10", "root": "data/raw"}})
    code, _, rows = ask()
    assert code == 0
    assert "curl -L --create-dirs -o data/raw/cifar-10-python.tar.gz https://" in rows["data"]
    assert not (project / "data/raw").exists()


@pytest.mark.parametrize(("method", "name"), [("attn2", ".attn2."), ("full", "")])
def test_the_account_counts_the_weights_of_the_base(
    ask, project: Path, method: str, name: str
) -> None:
    edit_params(project, "finetune", method=method)
    weights = dict(load_unet(load_params().chosen).named_parameters())
    trained = sum(w.numel() for key, w in weights.items() if name in key)
    frozen = sum(w.numel() for w in weights.values()) - trained
    assert (
        f"(counted: {frozen:,} frozen x 4 + {trained:,} trained x 16 bytes)" in ask()[2]["memory"]
    )


def test_the_weights_of_stable_diffusion_are_those_of_the_benchmarks(project: Path) -> None:
    with torch.device("meta"):
        build_unet().save_config(project / "models/tiny/unet")
    assert measured.count_weights(load_params()) == (815_558_404, 43_962_560)


def test_what_is_not_trained_in_the_unet_is_frozen(ask, project: Path) -> None:
    edit_params(project, "finetune", method="textual_inversion", data="subject")
    assert " + 0 trained x 16 bytes" in ask()[2]["memory"]


def test_too_little_memory_is_an_obstacle(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    frozen, trained = measured.count_weights(load_params()) or (0, 0)
    needed = 4 * frozen + 16 * trained
    monkeypatch.setattr(needs, "measure_memory", lambda: (needed, 2 * needed))
    assert ask()[0] == 0
    monkeypatch.setattr(needs, "measure_memory", lambda: (needed - 1, 2 * needed))
    code, head, _ = ask()
    assert code == 1
    assert head[0].startswith("error: memory: training needs ")


def test_too_little_disk_is_an_obstacle(ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    code, head, _ = ask()
    assert code == 1
    assert head[0].startswith("error: disk: the run writes up to ")


def test_the_disk_is_enough_for_what_a_run_writes(project: Path) -> None:
    edit_params(project, "prepare", num_pairs=8, num_validation_pairs=2)
    finetune.main()
    sample.main("baseline")
    sample.main("finetuned")
    written = [paths.LATENTS, paths.FINETUNED, paths.PAIRS, *paths.SAMPLES.values()]
    files = [file for path in written for file in ([path] if path.is_file() else path.iterdir())]
    num_bytes = sum(file.stat().st_size for file in files)
    text = needs.describe_disk(load_params(), 4, 0)
    counted = float(text.partition("up to ")[2].partition(" GB")[0]) * 1e9
    assert num_bytes < counted + 1e7  # it is told to 10 MB
    assert counted < 20 * num_bytes + 1e7


def test_time_and_peak_are_those_of_the_last_run_like_this(ask, project: Path) -> None:
    assert ask()[2]["time"].startswith("not known: ")
    finetune.main()
    sample.main("baseline")
    for path, seconds in ((paths.TRAINING_COST, 8.0), (paths.SAMPLING_COST["baseline"], 12.0)):
        cost = read_json(path, "") | {"duration_s": seconds, "peak_memory_mib": 64 * seconds}
        path.write_text(json.dumps(cost))
    edit_params(project, "finetune", max_train_steps=300)  # of which 4 were taken in 8 s
    edit_params(project, "prompts", protocol="paper")
    edit_params(project, "sample", images_per_in_domain_prompt=2, images_per_marketing_prompt=5)
    code, _, rows = ask()
    num_pictures = 50 * 2 + 6 * 5  # of each variant; of one, 4 were sampled in 12 s
    assert code == 0
    assert f"2 x {num_pictures} pictures" in rows["run"]
    minutes = 2 * num_pictures * 3 / 60
    assert f"training 10.0 min and sampling {minutes:.1f} min, as measured by " in rows["time"]
    assert "the run whose results lie here peaked at 0.75 GiB" in rows["memory"]


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("finetune", {"method": "full"}),
        ("finetune", {"train_batch_size": 2}),
        ("finetune", {"gradient_checkpointing": True}),
        ("sample", {"num_inference_steps": 3}),
    ],
)
def test_a_run_of_another_kind_tells_no_time(
    ask, project: Path, section: str, change: dict
) -> None:
    finetune.main()
    sample.main("baseline")
    assert measured.find_measured(load_params())
    edit_params(project, section, **change)
    assert measured.find_measured(load_params()) is None


def test_what_make_gpu_measured_is_taken_for_what_it_measured(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured, "count_weights", lambda _: (815_558_404, 43_962_560))
    edit_params(project, "bases", tiny={"resolution_px": 256})
    edit_params(project, "sample", batch_size=16, num_inference_steps=60)
    found = {
        "attn2 step (attune), fp32": {"s": 0.5, "peak GiB": 3.0},
        "picture, batches of 16 (attune), fp32": {"s": 2.0, "peak GiB": 5.0},
    }
    measured.BENCH.parent.mkdir(parents=True)
    measured.BENCH.write_text(json.dumps(found))
    assert measured.find_measured(load_params()) == (0.5, 4.0, 5.0, "make gpu")
    edit_params(project, "finetune", train_batch_size=8)
    assert measured.find_measured(load_params()) is None


@pytest.mark.parametrize("text", ["", "[]", '{"attn2 step (attune), fp32": {"left out": "time"}}'])
def test_what_make_gpu_left_out_is_not_known(project: Path, text: str) -> None:
    measured.BENCH.parent.mkdir(parents=True)
    measured.BENCH.write_text(text)
    assert measured.find_measured(load_params()) is None


def hash_files(folder: Path) -> dict[str, str]:
    return {
        str(file): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
