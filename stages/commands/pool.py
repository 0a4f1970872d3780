"""Several experiments' by_prompt.csv -> plots/pooled.csv, training noise included.

`python -m stages.commands.pool EXPERIMENT [EXPERIMENT ...]`, each a name, branch, tag or commit
that `dvc exp show` or git lists. What they hold is read from git; nothing is checked out or run.
"""

import logging
import sys
from typing import Any

from stages.analysis.pooled import pool_seeds
from stages.analysis.results import BY_PROMPT_SCHEMA
from stages.commands.experiments import check_distinct, read_params, read_table
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.notation import format_interval, format_p_value, format_signed, word_set
from stages.config.params import load_params
from stages.files.tables import write_table
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)

_HARMLESS = ("compare", "report")
"""Sections of params.yaml that change no difference of a prompt."""


def main(*experiments: str) -> None:
    """Pool the experiments, by name."""
    params = load_params().compare
    check_distinct(experiments)
    check_alike({name: read_params(name).model_dump() for name in experiments})
    path = paths.COMPARISON_TABLES / "by_prompt.csv"
    tables = {name: read_table(name, path, BY_PROMPT_SCHEMA, "compare") for name in experiments}
    pooled = pool_seeds(tables, params)

    write_table(pooled, paths.POOLED)
    for name, table in tables.items():
        for set_name, rows in table.groupby("set", sort=False):
            logger.info(
                "%s, %s: %s", name, word_set(set_name), format_signed(rows["difference"].mean())
            )
    for row in pooled.to_dict("records"):
        logger.info("%s", word_row(row))


def check_alike(params: dict[str, dict[str, Any]]) -> None:
    """Refuse experiments that differ in more than their seeds, or whose training seed repeats."""
    seeds: dict[int, str] = {}
    first = next(iter(params))
    for name, values in params.items():
        seed = values["finetune"].pop("seed")
        if seed in seeds:
            raise UserError(
                f"{name}: finetune.seed is {seed}, as in {seeds[seed]}; "
                "pooling wants a seed of its own for each"
            )
        seeds[seed] = name
        for section, section_values in values.items():
            if section not in _HARMLESS and section_values != params[first][section]:
                raise UserError(
                    f"{name}: {section} is not as in {first}; pool experiments that differ in "
                    "finetune.seed only"
                )


def word_row(row: dict[str, Any]) -> str:
    """A pooled row as a line."""
    return (
        f"{word_set(row['set'])} {row['metric']}, "
        f"{row['num_seeds']} seeds x {row['num_prompts']} prompts: "
        f"{format_signed(row['difference'])} ({format_interval(row['ci_low'], row['ci_high'])}, "
        f"p {format_p_value(row['p_value'])}) {row['verdict']}".rstrip()
    )


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
