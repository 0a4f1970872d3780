"""A copy of the project in a folder of its own, on a micro base with random weights."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from ruamel.yaml import YAML

from tests.forked import reproduce
from tests.tiny import IMAGE_SIZE_PX, build_base, build_scorer

ROOT = Path(__file__).parents[1]
STAGES = (
    "check",
    "preflight",
    "prepare",
    "embed",
    "encode",
    "finetune",
    "sample@baseline",
    "sample@finetuned",
    "score@baseline",
    "score@finetuned",
    "compare",
    "preference",
    "report",
)
MICRO = {
    "prepare": {"num_pairs": 20, "num_validation_pairs": 10},
    "prompts": {"protocol": "paper"},
    "finetune": {"max_train_steps": 0, "validation_steps": 2, "checkpoint_steps": 2},
    "sample": {
        "num_inference_steps": 2,
        "images_per_in_domain_prompt": 1,
        "images_per_marketing_prompt": 2,
    },
    "compare": {"num_resamples": 100},
}


class Project:
    """A copy of the project in a folder of its own, with its own git and DVC cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        listed = self._run_in(ROOT, "git", "ls-files", "-co", "--exclude-standard").stdout
        for name in listed.splitlines():
            if (ROOT / name).is_file() and not name.startswith(("models/tiny", "docs/")):
                target = folder / name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, target)
        for name in ("dvc.lock", ".dvc/config.local"):
            (folder / name).unlink(missing_ok=True)
        build_base(folder / "models/tiny")
        build_scorer(folder / "models/tiny-scorer")
        build_scorer(folder / "models/tiny-guide", seed=1)
        self.run("git", "init", "-q")

    def set_params(self, changes: dict) -> None:
        """Change values of params.yaml, given by section."""
        yaml = YAML()
        path = self.folder / "params.yaml"
        params = yaml.load(path.read_text())
        for section, values in changes.items():
            params[section].update(values)
        with path.open("w") as stream:
            yaml.dump(params, stream)

    def set_micro_params(self, changes: dict | None = None) -> None:
        """The tiny base alone at the micro base's resolution, and few of everything."""
        text = (ROOT / "params.yaml").read_text()
        base = YAML(typ="safe").load(text)["bases"]["tiny"] | {"resolution_px": IMAGE_SIZE_PX}
        self.set_params(MICRO | {"bases": {"tiny": base}} | (changes or {}))

    def repro(self, *targets: str) -> set[str]:
        """Run `dvc repro`, of everything or of what the targets need; the stages that it ran."""
        result = self.try_repro(*targets)
        assert result.returncode == 0, result.stdout + result.stderr
        lines = result.stdout.splitlines()
        return {line.split("'")[1] for line in lines if line.startswith("Running stage")}

    def try_repro(self, *targets: str) -> subprocess.CompletedProcess:
        """Run `dvc repro` to its end, whatever that is."""
        return reproduce(self.folder, targets, self._build_environment())

    def start(self, *command: str) -> subprocess.Popen:
        """Start a command in a process group of its own, its output and errors in one pipe."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self._build_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command to its end, whatever that is."""
        return self._run_in(self.folder, *command)

    def read_json(self, name: str) -> dict:
        """A JSON file of the project."""
        return json.loads((self.folder / name).read_text())

    def hash_files(self, *names: str) -> dict[str, str]:
        """The digest of each file in some folders, by its path in the project."""
        files = [f for n in names for f in sorted((self.folder / n).rglob("*")) if f.is_file()]
        return {
            f.relative_to(self.folder).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest()
            for f in files
        }

    @classmethod
    def _run_in(cls, folder: Path, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            command,
            cwd=folder,
            env=cls._build_environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    @staticmethod
    def _build_environment() -> dict[str, str]:
        return os.environ | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2"),
        }
