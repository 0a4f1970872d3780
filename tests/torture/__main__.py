"""`make torture`: kill -9 at random moments over all stages, then compare the bytes of all outputs.

On a micro base: the pipeline runs undisturbed once, then from nothing with kills, each followed by
`dvc repro` again, until every stage has had its share. Whatever ends otherwise than undisturbed,
or is done twice, is named, and the exit code is 1.
"""

import argparse
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from stages.commands.mend import mend
from tests.micro_project import STAGES, Project
from tests.torture.attempt import BEFORE, Attempt, attempt
from tests.torture.evidence import (
    clear,
    compare_results,
    count_done,
    read_results,
    read_resumed,
)

MAX_ROUNDS = 8
PARAMS = {
    "finetune": {
        "max_train_steps": 100,
        "validation_steps": 50,
        "checkpoint_steps": 10,
        "learning_rate": 1e-3,
    },
    "sample": {
        "num_inference_steps": 10,
        "images_per_in_domain_prompt": 1,
        "images_per_marketing_prompt": 2,
        "batch_size": 4,
    },
}


class Torture:
    """A run that is killed until each stage has had its share of kills."""

    def __init__(self, project: Project, num_kills: int, seed: int) -> None:
        self.project = project
        self.random = random.Random(seed)
        self.done: Counter[str] = Counter()
        self.failures: list[str] = []
        self.num_mended = 0
        self.waiting, self.waiting_stage = 0, BEFORE
        places = [BEFORE, *STAGES]
        share, rest = divmod(num_kills, len(places))
        self.shares = Counter(dict.fromkeys(places, share))
        self.shares.update(self.random.sample(places, rest))

    def run_undisturbed(self) -> None:
        """Note the bytes and the seconds of each stage."""
        result = attempt(self.project, lambda _: None)
        if result.exit_code:
            raise RuntimeError("the undisturbed run failed:\n" + "\n".join(result.lines))
        self.durations = result.durations
        self.expected = read_results(self.project.folder)

    def run_killed(self, bar: tqdm) -> None:
        """From nothing to the end, with the kills that are still due."""
        clear(self.project)
        while True:
            result = attempt(self.project, self.choose_moment)
            self.check_resumed(result)
            if result.stage is None:
                break
            self.done[result.stage] += 1
            bar.update()
            bar.set_postfix_str(result.stage)
            if result.stage != BEFORE:
                self.waiting = count_done(self.project, result.stage)
                self.waiting_stage = result.stage
            self.num_mended += len(mend(self.project.folder))
        if result.exit_code:
            self.fail(f"`dvc repro` ended with {result.exit_code}", result.lines)
            return
        for line in compare_results(self.expected, read_results(self.project.folder)):
            self.fail(line)

    def choose_moment(self, stage: str) -> float | None:
        """Any of the stage's seconds, as long as kills are due to it."""
        if self.done[stage] >= self.shares[stage]:
            return None
        return self.random.uniform(0, self.durations[stage])

    def check_resumed(self, result: Attempt) -> None:
        """Steps or pictures that waited from the kill before must not be done again."""
        has_run = f"Running stage '{self.waiting_stage}':" in result.lines
        has_ended = has_run and result.stage != self.waiting_stage
        resumed = read_resumed(result.lines)
        if self.waiting and resumed != self.waiting and (resumed or has_ended):
            self.fail(
                f"{self.waiting_stage}: {self.waiting} were done before the kill, but it went on "
                f"after {resumed}"
            )

    def check_changed_params(self) -> None:
        """A checkpoint of one seed must not be met by another."""
        moments = {"finetune": 0.9 * self.durations["finetune"], "sample@finetuned": 0.0}
        for seed in (1, 2):
            self.project.set_params({"finetune": {"seed": seed}})
            result = attempt(self.project, moments.get)
            mend(self.project.folder)
            if seed == 1:
                del moments["finetune"]
        if resumed := read_resumed(result.lines):
            self.fail(f"finetune: other params, but it went on after step {resumed}")

    def fail(self, what: str, lines: list[str] | None = None) -> None:
        """Note what is wrong, with the end of what was written."""
        self.failures.append("\n    ".join([what, *(lines or [])[-12:]]))


def main() -> int:
    """Run, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.torture", description=__doc__)
    parser.add_argument("--kills", type=int, default=104, metavar="N", help="104: 8 a stage")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="torture-") as folder:
        project = Project(Path(folder))
        project.set_micro_params(PARAMS)
        torture = Torture(project, arguments.kills, arguments.seed)
        with tqdm(total=arguments.kills, desc="torture", unit=" kills") as bar:
            bar.set_postfix_str("undisturbed")
            torture.run_undisturbed()
            for _ in range(MAX_ROUNDS):
                torture.run_killed(bar)
                if torture.done.total() >= arguments.kills or torture.failures:
                    break
            torture.check_changed_params()
    sys.stdout.write(describe(torture))
    return 1 if torture.failures else 0


def describe(torture: Torture) -> str:
    """The table of kills per stage, and what went wrong."""
    rows = [f"| {stage} | {torture.done[stage]} |" for stage in torture.durations]
    lines = ["| stage | kills |", "| --- | --- |", *rows]
    verdict = [f"FAILED: {what}" for what in torture.failures] or [
        f"{torture.done.total()} kills, {len(torture.expected)} outputs: the undisturbed bytes"
    ]
    mended = f"files of DVC's own cut off, and mended: {torture.num_mended}"
    return "\n".join([*lines, "", mended, *verdict]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
