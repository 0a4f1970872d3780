"""Open all that later stages will open: every chosen picture, the prompts, base and scorer.

DVC removes what a stage wrote before it runs it again. So a missing or damaged file must be found
by a stage of its own, before results are touched; downloads happen here, too. Reads the data
source, prompts, base and scorer. Writes data/chosen.csv, the pictures that `prepare` will take and
a hash of their pixels; data/left_out.csv, what was not taken as it is, and why; and
data/subject.json, which is empty for most methods.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from transformers import CLIPTokenizer

from stages.adapters.foreign import Foreign, read_foreign
from stages.adapters.imported import convert, is_word
from stages.adapters.methods import choose_weights
from stages.adapters.word import check_new, find_initializer
from stages.base.base_files import describe_base
from stages.base.components import (
    load_models,
    load_scheduler_config,
    load_text_encoder,
)
from stages.base.device import choose_device, describe_device, require_device
from stages.base.identity import fingerprint_weights
from stages.base.prompts import find_cut_text
from stages.config import paths
from stages.config.mistakes import UserError, show
from stages.config.notation import format_count
from stages.config.params import Params, load_params
from stages.files.clip_files import describe_clips
from stages.files.download import fetch_model
from stages.files.hub import require_model
from stages.files.tables import write_table
from stages.files.taught import Taught, name_taught, write_taught
from stages.run.entry import run_stage
from stages.run.inputs import require_optimizer
from stages.scoring.metrics.registry import load_extra_metrics
from stages.scoring.scorer import Scorer, load_scorer
from stages.sources.handed_in import take_in_pictures
from stages.sources.intake import Intake, build_all_prompts, open_all, take_in
from stages.sources.notes import Note

logger = logging.getLogger(__name__)


def main() -> None:
    """Write what was chosen and left out, once all is there; or name what is wrong."""
    params = load_params()
    if params.pictures.named:
        take_pictures_alone(params)
        return
    foreign = None
    if params.finetune.method == "import":
        foreign = read_foreign(params.imported.path or "", params.imported.revision)
    taught = name_taught(params, foreign is not None and is_word(foreign))
    require_all(params, taught)
    intake = take_in(params, taught)
    open_models(params, foreign)
    check_words(params, intake, taught)
    write_taught(taught, paths.SUBJECT, foreign.digest if foreign else "")
    write_table(intake.chosen, paths.CHOSEN)
    write_table(intake.left_out, paths.LEFT_OUT)


def take_pictures_alone(params: Params) -> None:
    """Look at pictures that were handed in, and at what judges them: no base is needed."""
    for clip in describe_clips(params):
        require_model(clip)
    intake = take_in_pictures(params.pictures.named)
    open_scorer(params)
    write_taught(None, paths.SUBJECT)
    write_table(intake.chosen, paths.CHOSEN)
    write_table(intake.left_out, paths.LEFT_OUT)


def require_all(params: Params, taught: Taught | None) -> None:
    """Look for device, base, scorer, prompts and pictures, before the long work of reading them.

    Raises:
        UserError: A line for each that is neither here nor can be downloaded, or is wrong.
    """
    base = params.chosen
    looks: list[Callable[[], object]] = [
        lambda: require_device(base),
        lambda: require_model(describe_base(base)),
        *(partial(require_model, clip) for clip in describe_clips(params)),
        lambda: build_all_prompts(params, taught),
        lambda: open_all(params, taught),
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


def open_models(params: Params, foreign: Foreign | None) -> None:
    """Load each part of the base, the scorer and the extra metrics, and drop it again.

    The base's U-Net has to have what the method trains, and what is imported has to fit the base.
    """
    base = params.chosen
    what = (base.model, base.scorer, describe_device(choose_device()), base.precision)
    logger.info("preflight: base %s, scorer %s, on %s in %s", *what)
    fetch_model(describe_base(base))
    load_scheduler_config(base)
    models = load_models(base)
    if foreign:
        logger.info(
            "import: %s", convert(foreign, models, base, params.subject.placeholder).applied
        )
    elif params.finetune.method != "textual_inversion":  # which trains none of it
        choose_weights(models.unet, params.finetune)
    open_scorer(params)


def open_scorer(params: Params) -> None:
    """Load the scorer and the extra metrics, and drop them again."""
    base = params.chosen
    scorer = load_scorer(base.scorer, base.scorer_pretrained, base.scorer_revision)
    if params.sample.clip_guidance_scale:
        check_guide(params, scorer)
    load_extra_metrics(params.score.extra_metrics, scorer.device)


def check_guide(params: Params, scorer: Scorer) -> None:
    """Refuse a guide that is the scorer by its weights, unless that is wanted; and the reverse.

    Raises:
        UserError: `sample.guide_is_scorer` is not what is the case, or the guide can't be loaded.
    """
    base, is_wanted = params.chosen, params.sample.guide_is_scorer
    guide = load_scorer(base.guide, base.guide_pretrained, base.guide_revision, "guide")
    is_scorer = fingerprint_weights(guide.model) == fingerprint_weights(scorer.model)
    logger.info("preflight: guide %s%s", base.guide, ", which judges, too" if is_scorer else "")
    if is_scorer and not is_wanted:
        raise UserError(
            f"sample.guide_is_scorer: should be true: the guide {base.guide} has the weights of "
            f"the scorer {base.scorer}, which would judge where it led; better name another CLIP "
            "in bases.*.guide"
        )
    if is_wanted and not is_scorer:
        raise UserError(
            f"sample.guide_is_scorer: should be false: the guide {base.guide} is not the scorer "
            f"{base.scorer}"
        )


def check_words(params: Params, intake: Intake, taught: Taught | None) -> None:
    """Refuse a new word that is not new, or is in others; note what the text encoder cuts."""
    tokenizer, _ = load_text_encoder(params.chosen, choose_device())
    captions, prompts = intake.chosen["caption"], intake.prompts["finetuned_prompt"]
    if taught and taught.is_word:
        word = taught.learned
        if params.finetune.method == "textual_inversion":
            num_vectors = params.finetune.textual_inversion.num_vectors
            find_initializer(tokenizer, word, taught.subject.initializer, num_vectors)
        check_new(tokenizer, word, num_vectors=1)
        refuse_part_of_word(word, [*captions, *prompts])
    intake.notes["captions"] = note_cuts(tokenizer, captions, "caption")
    sampled = [*prompts, params.sample.negative_prompt or ""]
    intake.notes["prompts"] = note_cuts(tokenizer, sampled, "prompt")


def refuse_part_of_word(placeholder: str, texts: Sequence[str]) -> None:
    """Refuse a placeholder that is inside another word, which would become the new one there."""
    inside = re.compile(rf"(?<=\w){re.escape(placeholder)}|{re.escape(placeholder)}(?=\w)", re.I)
    for text in texts:
        if inside.search(text):
            raise UserError(
                f"subject.placeholder: {placeholder} is a part of a word of {show(text)}; should "
                "be in none, such as <thing>"
            )


def note_cuts(tokenizer: CLIPTokenizer, texts: Iterable[str], what: str) -> list[Note]:
    """Note the texts of which the text encoder does not see the end, and log how many there are."""
    distinct = list(dict.fromkeys(texts))
    notes = [
        Note(text, f"end is not seen: {cut}")
        for text in distinct
        if (cut := find_cut_text(tokenizer, text))
    ]
    if notes:
        seen = Counter(map(tuple, tokenizer(distinct, truncation=True).input_ids))
        num_equal = sum(count for count in seen.values() if count > 1)
        equal = f", {num_equal} are equal then and count several times" if num_equal else ""
        logger.warning(
            "%s cut at %d tokens%s; listed in %s",
            *(format_count(len(notes), what), tokenizer.model_max_length, equal, paths.LEFT_OUT),
        )
    return notes


if __name__ == "__main__":
    run_stage(main)
