"""What each training method cost and gained: experiments -> plots/methods.csv, plots/methods.html.

`python -m stages.commands.methods EXPERIMENT [EXPERIMENT ...]`, each a name, branch, tag or
commit that `dvc exp show` or git lists. All of it is read from git; nothing is checked out or run.
"""

import io
import logging
import sys
from typing import Any

import pandas as pd

from stages.commands.experiments import check_distinct, read_text, read_values
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.notation import format_interval, format_signed
from stages.config.params import PARAMS, Params, load_params, parse_params
from stages.files.atomic import replace_file
from stages.files.results import FORGETTING_SCHEMA, METHODS_SCHEMA
from stages.files.tables import parse_csv, write_table
from stages.reporting.methods import draw_methods
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)

METRIC = "clip_cosine"
TRAINING = ("learning_rate", "num_trainable_parameters", "validation_loss_change")
"""Keys of plots/data/finetune.json."""
COMPARED = (
    "method",
    "learning_rate",
    "lora",
    "textual_inversion",
    "dreambooth",
    "optimizer",
    "max_train_steps",
    "seed",
)
"""Keys of `finetune` in which the experiments may differ: what is compared is a way to train."""
HARMLESS = ("compare", "report")


def main(*experiments: str) -> None:
    """Write the table and the chart of the experiments, by name."""
    if not experiments:
        raise UserError('name experiments, as in make methods EXPERIMENTS="attn2 attn2_kv lora"')
    check_distinct(experiments)
    params = {name: parse_params(read_text(name, str(PARAMS))) for name in experiments}
    check_alike(params)
    rows = [read_row(name, values) for name, values in params.items()]
    table = pd.DataFrame(rows, columns=list(METHODS_SCHEMA))
    write_table(table, paths.METHODS_TABLE)
    figure = draw_methods(table, load_params().compare.confidence_level)
    with replace_file(paths.METHODS_CHART) as partial:
        page = figure.to_html(include_plotlyjs=True, config={"displayModeBar": False})
        partial.write_text(page, encoding="utf-8")
    for row in table.to_dict("records"):
        logger.info("%s", word_row(row))


def check_alike(params: dict[str, Params]) -> None:
    """Refuse experiments that differ in more than how they train."""
    kept = {name: _drop_compared(values) for name, values in params.items()}
    first, *others = kept
    for name in others:
        for section, values in kept[name].items():
            if values != kept[first][section]:
                raise UserError(
                    f"{name}: {section} is not as in {first}; compare experiments that differ "
                    f"only in {', '.join(f'finetune.{key}' for key in COMPARED)}"
                )


def read_row(experiment: str, params: Params) -> dict[str, Any]:
    """What an experiment's results say: a row of plots/methods.csv."""
    path = str(paths.COMPARISON_TABLES / "forgetting.csv")
    text = io.StringIO(read_text(experiment, path))
    forgetting = parse_csv(text, FORGETTING_SCHEMA, f"{experiment}:{path}", "compare")
    rows = forgetting[forgetting["metric"] == METRIC].to_dict("records")
    if not rows:
        raise UserError(f"{experiment}: {path} has no {METRIC}; run `dvc repro compare`")
    return {
        "experiment": experiment,
        "method": params.finetune.method,
        **read_values(experiment, str(paths.TRAINING), TRAINING),
        **{name: rows[0][name] for name in METHODS_SCHEMA if name in FORGETTING_SCHEMA},
    }


def word_row(row: dict[str, Any]) -> str:
    """A row of the table as a line."""
    gain = format_interval(row["gain_ci_low"], row["gain_ci_high"])
    change = format_interval(row["change_ci_low"], row["change_ci_high"])
    return (
        f"{row['experiment']}: {row['num_trainable_parameters']:,} parameters, validation loss "
        f"{format_signed(row['validation_loss_change'])}, in-domain {METRIC} "
        f"{format_signed(row['gain_in_domain'])} ({gain}), marketing "
        f"{format_signed(row['change_out_of_domain'])} ({change})"
    )


def _drop_compared(params: Params) -> dict[str, Any]:
    values = params.model_dump(exclude={"finetune": set(COMPARED)})
    return {section: v for section, v in values.items() if section not in HARMLESS}


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
