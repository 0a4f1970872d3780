"""What params.yaml asks for, beside models and pictures, and that may not be here."""

from importlib.util import find_spec
from pathlib import Path

from stages.config.mistakes import UserError
from stages.config.params import PARAMS, FinetuneParams, Params
from stages.run.launch import require_config_file


def require_files(params: Params) -> None:
    """Look for what is asked for by DVC, which doesn't name the key, or by a late stage.

    Raises:
        UserError: A line for each file that is not there.
    """
    problems = []
    if not Path(params.prompts.file).is_file():
        problems.append(
            f"{PARAMS}: prompts.file: no file {params.prompts.file}; data/extra_prompts.csv is "
            "shipped, with no prompts in it"
        )
    try:
        require_config_file(params.launch)
    except UserError as error:
        problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))


def require_optimizer(finetune: FinetuneParams) -> None:
    """Refuse an optimizer whose package is not installed."""
    if finetune.optimizer == "adamw_8bit" and find_spec("bitsandbytes") is None:
        raise UserError(
            "finetune.optimizer: adamw_8bit needs the package bitsandbytes; run "
            "`pip install -r requirements-8bit.txt`, or set adamw"
        )
