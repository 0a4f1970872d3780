"""What it would take to settle the question: a finished run -> plots/plan.csv.

`python -m stages.commands.plan`. From how prompts, pictures of a prompt and, where plots/pooled.csv
is there, training seeds vary: the true difference that other numbers of them would find four times
in five, and how long they would take on this machine.
"""

import logging
import math
from itertools import product

import pandas as pd

from stages.analysis.design import Spread, find_detectable
from stages.analysis.results import PLAN_SCHEMA, POOLED_SCHEMA, read_results
from stages.config import paths
from stages.config.notation import format_number, word_set
from stages.config.params import load_params
from stages.files.tables import read_csv, read_json, write_table
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)

PROMPTS, PICTURES, SEEDS = (1, 2, 5, 10), (1, 2, 4, 8), (3, 5, 10)
"""Times the run's own number of prompts; pictures a prompt; seeds, where their spread is known."""


def main() -> None:
    """Write the table, and say which of its designs is the cheapest that settles the question."""
    params = load_params().compare
    by_set = read_results(paths.COMPARISON_TABLES).by_set
    cost = read_json(paths.COST, "report")
    rate = cost.get("sampling_s", math.nan) / by_set["num_images"].sum()
    sd_seeds = read_seeds()
    rows = []
    for found in by_set.to_dict("records"):
        spread = Spread(found["sd_prompts"], found["sd_pictures"], sd_seeds.get(found["set"], 0.0))
        numbers = [factor * found["num_prompts"] for factor in PROMPTS]
        for num_prompts, num_pictures, num_seeds in product(
            numbers, PICTURES, SEEDS if spread.seeds else (1,)
        ):
            num_images = num_prompts * num_pictures
            seconds = num_seeds * (num_images * rate + cost.get("training_s", math.nan))
            rows.append(
                {
                    "set": found["set"],
                    "num_prompts": num_prompts,
                    "num_pictures": num_pictures,
                    "num_seeds": num_seeds,
                    "num_images": num_seeds * num_images,
                    "minutes": seconds / 60,
                    "detectable_difference": find_detectable(
                        spread, num_prompts, num_pictures, num_seeds, params
                    ),
                }
            )
    plan = pd.DataFrame(rows)[list(PLAN_SCHEMA)]
    write_table(plan, paths.PLAN)
    for found in by_set.to_dict("records"):
        report(plan[plan["set"] == found["set"]], found, params.smallest_relevant_difference)
    logger.info("%s", paths.PLAN)


def read_seeds() -> dict[str, float]:
    """The spread of CLIP between training seeds by set, where `make pool` measured it."""
    if not paths.POOLED.exists():
        return {}
    pooled = read_csv(paths.POOLED, POOLED_SCHEMA, "compare")
    clip = pooled[pooled["metric"] == "clip_cosine"]
    return dict(zip(clip["set"], clip["sd_seeds"], strict=True))


def report(plan: pd.DataFrame, found: dict, relevant: float) -> None:
    """Log how a set varies, and what would settle it."""
    name = word_set(found["set"])
    logger.info(
        "%s: %d prompts, %d pictures; standard deviation of prompts %s, of a prompt's pictures %s",
        name,
        found["num_prompts"],
        found["num_images"],
        format_number(found["sd_prompts"]),
        format_number(found["sd_pictures"]),
    )
    settling = plan[plan["detectable_difference"] <= relevant]
    if settling.empty:
        logger.info("%s: no design in the table finds a difference of %g", name, relevant)
    else:
        is_timed = settling["minutes"].notna().all()  # not where pictures were handed in
        best = settling.loc[settling["minutes" if is_timed else "num_images"].idxmin()]
        time = f", about {best['minutes']:.1f} min with training" if is_timed else ""
        logger.info(
            "%s: a difference of %g is found four times in five by %d seed(s) x %d prompts x %d "
            "pictures: %d pictures of each variant%s",
            name,
            relevant,
            *(best[["num_seeds", "num_prompts", "num_pictures", "num_images"]].astype(int)),
            time,
        )
    if found["more_prompts"] >= 0:
        logger.info(
            "%s: %d more prompts of one picture would settle it either way",
            name,
            found["more_prompts"],
        )


if __name__ == "__main__":
    run_stage(main)
