"""Which of several experiments is better: every pair, on the same prompts and noise.

`python -m stages.commands.duel [--pick] EXPERIMENT [EXPERIMENT ...]`, each a name, branch, tag or
commit that `dvc exp show` or git lists. The baseline that they share takes part. Experiments that
differ in `finetune.seed` alone are pooled. With --pick the best is chosen by one half of the
prompts, and all that is written comes from the other half. Writes plots/duel.html, plots/duel.csv
and plots/duel_by_class.csv; results are read from git and DVC's cache, nothing is checked out or
run.
"""

import io
import logging
import math
import sys
from typing import Any, NamedTuple

import pandas as pd

from stages.analysis.duel import (
    METRIC,
    Arms,
    align_arms,
    compare_arms,
    compare_arms_by_class,
    find_unbeaten,
    pick_best,
    split_prompts,
)
from stages.analysis.results import VERDICT
from stages.commands.experiments import (
    check_distinct,
    check_same,
    keep_sampled,
    read_params,
    read_text,
    read_values,
)
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.notation import format_interval, format_signed, word_set
from stages.config.params import CompareParams, Params, load_params
from stages.files.atomic import replace_file
from stages.files.facts import Facts, parse_facts
from stages.files.tables import parse_scores, write_table
from stages.reporting.duel import Duels, render_duels
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)

BASELINE = "baseline"
SUBJECT = "subject"
POOLED: dict[str, Any] = {"finetune": {"seed"}, "compare": True, "report": True, "launch": True}
"""In what experiments of one arm may differ."""


class Experiment(NamedTuple):
    """What an experiment wrote, and from which params."""

    params: Params
    baseline: pd.DataFrame
    finetuned: pd.DataFrame
    facts: dict[str, Facts]
    training: dict[str, Any]
    cost: dict[str, Any]
    is_paired: bool


def main(*arguments: str) -> None:
    """Let the experiments duel, by name."""
    names = tuple(name for name in arguments if name != "--pick")
    check_distinct(names)
    if BASELINE in names:
        raise UserError(f"{BASELINE}: it takes part in every duel; name experiments")
    params = load_params().compare
    check_alike({name: read_params(name) for name in names})
    experiments = {name: read_experiment(name) for name in names}
    arms, members = build_arms(experiments)
    facts = next(iter(experiments.values())).facts
    is_paired = all(experiment.is_paired for experiment in experiments.values())
    picked = ""
    if "--pick" in arguments:
        arms, picked = pick(arms, params)
    duels = compare_arms(arms, facts, params)
    by_class = compare_arms_by_class(arms, params, is_paired)
    write_table(duels, paths.DUELS)
    write_table(by_class, paths.DUELS_BY_CLASS)
    unbeaten = {name: find_unbeaten(duels, list(arms), name) for name in duels["set"].unique()}
    page = Duels(
        arms=list(arms),
        duels=duels,
        by_class=by_class,
        unbeaten=unbeaten,
        labels={name: entry.label for name, entry in facts.items()},
        trained={arm: [list_cost(experiments[name]) for name in members[arm]] for arm in members},
        picked=picked,
        confidence_level=params.confidence_level,
        relevant=params.smallest_relevant_difference,
        is_paired=is_paired,
    )
    with replace_file(paths.DUEL_PAGE) as partial:
        partial.write_text(render_duels(page), encoding="utf-8")
    report(duels, arms, unbeaten, picked)


def check_alike(params: dict[str, Params]) -> None:
    """Refuse experiments whose pictures are not of the same prompts and noise, or scored otherwise.

    Raises:
        UserError: Two differ in what is sampled or how it is scored; the key and both values.
    """
    check_same(params, _keep_scored)
    learners = {name: values for name, values in params.items() if values.finetune.data == SUBJECT}
    if learners:
        check_same(learners, _keep_subject)


def read_experiment(name: str) -> Experiment:
    """Read an experiment's scores, facts and costs; errors as `read_text`."""
    scores = {
        variant: parse_scores(io.StringIO(read_text(name, path)), f"{name}:{path}")
        for variant, path in paths.SCORES.items()
    }
    facts = read_values(name, paths.FACTS["finetuned"], "score")
    params = read_params(name)
    is_paired = True
    if params.pictures.named:
        verdict = read_values(name, paths.COMPARISON_TABLES / VERDICT, "compare")
        is_paired = verdict["is_paired"]
    return Experiment(
        params,
        scores["baseline"],
        scores["finetuned"],
        parse_facts(facts, f"{name}:{paths.FACTS['finetuned']}"),
        read_values(name, paths.TRAINING, "finetune"),
        read_values(name, paths.COST, "report"),
        is_paired,
    )


def build_arms(experiments: dict[str, Experiment]) -> tuple[Arms, dict[str, list[str]]]:
    """The baseline and a group for each way to train; of each group the experiments in it."""
    groups: dict[str, list[str]] = {}
    for name, experiment in experiments.items():
        key = experiment.params.model_dump_json(exclude=POOLED)
        groups.setdefault(key, []).append(name)
    members = {" + ".join(names): names for names in groups.values()}
    for names in members.values():
        seeds = [experiments[name].params.finetune.seed for name in names]
        if len(set(seeds)) < len(seeds):
            raise UserError(f"{', '.join(names)}: the same params and finetune.seed; name one")
    check_baselines(experiments)
    arms = {BASELINE: [next(iter(experiments.values())).baseline]}
    arms |= {arm: [experiments[name].finetuned for name in names] for arm, names in members.items()}
    is_paired = all(experiment.is_paired for experiment in experiments.values())
    return align_arms(arms, is_paired), members


def check_baselines(experiments: dict[str, Experiment]) -> None:
    """Refuse pictures that were handed in for a baseline under one name, but are not the same."""
    (first, shared), *others = experiments.items()
    for name, experiment in others:
        if experiment.params.pictures.named and not experiment.baseline.equals(shared.baseline):
            raise UserError(
                f"{name}: pictures.baseline had other pictures than in {first}; run one again"
            )


def pick(arms: Arms, params: CompareParams) -> tuple[Arms, str]:
    """The arms on the second half of the prompts, and which was best on the first."""
    scores = next(iter(arms.values()))[0]
    is_first = split_prompts(scores, params.seed)
    first = scores["prompt_id"][is_first]
    picked = pick_best(arms, is_first)
    rest = {
        name: [table[~table["prompt_id"].isin(first)].reset_index(drop=True) for table in tables]
        for name, tables in arms.items()
    }
    return rest, picked


def list_cost(experiment: Experiment) -> dict[str, Any]:
    """What an experiment trained, and what that took."""
    training, cost = experiment.training, experiment.cost
    return {
        "method": training.get("method", experiment.params.finetune.method),
        "strength": experiment.params.imported.strength,
        "learning_rate": math.nan if (rate := training["learning_rate"]) is None else rate,
        "num_trainable_parameters": training["num_trainable_parameters"],
        "validation_loss_change": training.get("validation_loss_change", math.nan),
        "training_s": cost.get("training_s", math.nan),
        "checkpoint_bytes": cost.get("checkpoint_bytes", math.nan),
    }


def report(duels: pd.DataFrame, arms: Arms, unbeaten: dict[str, list[str]], picked: str) -> None:
    """Log each duel on CLIP, and which arms none is shown to beat."""
    for row in duels[duels["metric"] == METRIC].to_dict("records"):
        logger.info(
            "%s: %s - %s: %s (%s) %s",
            word_set(row["set"]),
            row["a"],
            row["b"],
            format_signed(row["difference"]),
            format_interval(row["ci_low"], row["ci_high"]),
            row["verdict"],
        )
    for set_name, names in unbeaten.items():
        what = "be better than another" if set(names) == set(arms) else f"beat {', '.join(names)}"
        logger.info("%s: none is shown to %s", word_set(set_name), what)
    if picked:
        logger.info("picked by the other half of the prompts: %s", picked)
    logger.info("%s", paths.DUEL_PAGE)


def _keep_scored(params: Params) -> dict[str, Any]:
    """The params on which pictures and scores depend."""
    values = keep_sampled(params) | params.model_dump(include={"score"})
    values["score"].pop("batch_size")
    scorer = {"scorer", "scorer_pretrained", "scorer_revision"}
    values[f"bases.{params.base}"] |= params.chosen.model_dump(include=scorer)
    return values


def _keep_subject(params: Params) -> dict[str, Any]:
    """The params on which it depends with which pictures those of a subject are compared."""
    kept = {"source", "root", "num_held_out_pictures", "seed", "class_name"}
    return params.model_dump(include={"subject": kept})


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
