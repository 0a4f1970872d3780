"""Open all that later stages will open: every chosen picture, the prompts, base and scorer.

DVC removes what a stage wrote before it runs it again. So a missing or damaged file must be found
by a stage of its own, before results are touched; downloads happen here, too. Reads the data
source, prompts, base and scorer; writes data/subject.json, which is empty for most methods.
"""

import logging
from collections.abc import Callable, Sequence
from importlib.util import find_spec

from tqdm import tqdm

from stages.adapters.methods import choose_weights
from stages.adapters.word import find_initializer
from stages.base.base_files import describe_base
from stages.base.components import (
    choose_device,
    load_scheduler_config,
    load_text_encoder,
    load_unet,
    load_vae,
)
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import (
    BaseParams,
    FinetuneParams,
    Params,
    PrepareParams,
    SubjectParams,
    load_params,
)
from stages.files.hub import require_model
from stages.files.taught import write_taught
from stages.run.entry import run_stage
from stages.scoring.metrics.registry import load_extra_metrics
from stages.scoring.scorer import describe_scorer, load_scorer
from stages.sources.choosing import choose_pictures
from stages.sources.opening import open_source
from stages.sources.prompts import build_prompts
from stages.sources.subject import choose_subject, open_subject

logger = logging.getLogger(__name__)


def main() -> None:
    """Write which subject is taught, once all is there; or name what is missing or damaged."""
    params = load_params()
    require_all(params)
    decode_pictures(params.chosen, params.prepare)
    open_models(params.chosen, params.finetune, params.score.extra_metrics)
    if params.finetune.learns_subject:
        open_subject_pictures(params.subject)
        check_words(params.chosen, params.finetune, params.subject)
    write_taught(params, paths.SUBJECT)


def require_all(params: Params) -> None:
    """Look for base, scorer, prompts and pictures, before the long work of reading them.

    Raises:
        UserError: A line for each that is neither here nor can be downloaded, or is wrong.
    """
    base = params.chosen
    scorer = describe_scorer(base.scorer, base.scorer_pretrained)
    looks: list[Callable[[], object]] = [
        lambda: require_model(describe_base(base)),
        lambda: scorer and require_model(scorer),
        lambda: build_prompts(params.prepare.classes, params.prompts),
        lambda: open_source(base.data, params.prepare.classes),
        lambda: require_optimizer(params.finetune),
    ]
    problems = []
    for look in looks:
        try:
            look()
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


def decode_pictures(base: BaseParams, prepare: PrepareParams) -> None:
    """Decode each picture that `prepare` will take from files."""
    source = open_source(base.data, prepare.classes)
    choice = choose_pictures(
        source, prepare.classes, prepare.num_pairs, prepare.num_validation_pairs, prepare.seed
    )
    if base.data.source == "drawn":
        return  # pictures that are drawn cannot be damaged
    order = sorted([*choice.train, *choice.validation])  # as sources store them
    for index in tqdm(order, desc="preflight", unit=" pictures", mininterval=1):
        source.load_image(index)


def open_models(base: BaseParams, finetune: FinetuneParams, extra_metrics: Sequence[str]) -> None:
    """Load each part of the base, the scorer and the extra metrics, and drop it again.

    The base's U-Net has to have what the method trains.
    """
    device = choose_device()
    logger.info("preflight: base %s, scorer %s", base.model, base.scorer)
    load_scheduler_config(base)
    load_text_encoder(base, device)
    unet = load_unet(base)
    if finetune.method != "textual_inversion":  # which trains none of it
        choose_weights(unet, finetune)
    load_vae(base, device)
    scorer = load_scorer(base.scorer, base.scorer_pretrained)
    load_extra_metrics(extra_metrics, scorer.device)


def open_subject_pictures(subject: SubjectParams) -> None:
    """Decode each picture of the subject."""
    source = open_subject(subject, subject.class_name)
    choice = choose_subject(source, subject)
    for index in (*choice.train, *choice.validation):
        source.load_image(index)


def check_words(base: BaseParams, finetune: FinetuneParams, subject: SubjectParams) -> None:
    """Refuse a new word that is not new, or that would start as several tokens."""
    if finetune.method == "textual_inversion":
        tokenizer, _ = load_text_encoder(base, choose_device())
        num_vectors = finetune.textual_inversion.num_vectors
        find_initializer(tokenizer, subject.placeholder, subject.initializer, num_vectors)


if __name__ == "__main__":
    run_stage(main)
