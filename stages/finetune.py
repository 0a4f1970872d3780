"""Fine-tune the base by `finetune.method`, on the encoded pairs of `finetune.data`.

Method import trains nothing: it takes in weights that others trained. Where pictures were handed
in, there is no model at all: data/handed_in/finetuned.parquet stands in for its weights.

Reads data/latents.safetensors, data/prompt_embeds.safetensors and the base's U-Net; for
a subject the captions in data/pairs.parquet and the rest of the base, too.
Writes models/finetuned/ (only the trained weights), and in plots/data/ the losses, finetune.json
and cost_finetune.json. Checkpoints wait in scratch/, so that a run that was killed goes on to the
same bytes.
"""

import itertools
import logging
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from diffusers import UNet2DConditionModel

from stages.adapters.foreign import read_foreign
from stages.adapters.hydra_lora import describe_hydra_lora
from stages.adapters.imported import convert
from stages.adapters.lora import describe_lora
from stages.adapters.methods import (
    apply_weights,
    check_movement,
    choose_weights,
    copy_weights,
    extract_weights,
)
from stages.base.components import (
    DTYPES,
    load_models,
    load_noise_scheduler,
    load_unet,
)
from stages.base.device import choose_device, choose_precision
from stages.base.identity import fingerprint_weights
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import Params, load_params
from stages.files.atomic import replace_file
from stages.files.pictures import read_rows
from stages.files.tables import PAIRS_SCHEMA, SAMPLES_SCHEMA, write_json, write_table
from stages.files.taught import read_taught
from stages.files.tensors import (
    CONFIG_NAME,
    SPLITS,
    hash_inputs,
    read_finetuned,
    read_latents,
    read_prompt_embeds,
    write_finetuned,
)
from stages.run.cost import Cost, Meter, write_cost
from stages.run.entry import run_stage
from stages.run.processes import count_processes, is_main_process, join_processes
from stages.run.scratch import hash_code, mark_finished
from stages.sampling.update import measure_update
from stages.training.batches import EncodedPairs, check_pairs
from stages.training.imported import measure_import
from stages.training.lesson import Lesson, build_prior_lesson, build_word_lesson
from stages.training.optimizer import resolve_learning_rate
from stages.training.resume import History, run_training
from stages.training.sharding import check_sharding, gather_shards
from stages.training.train import Training, build_training, use_average

logger = logging.getLogger(__name__)

LOSS_WINDOW = 50
"""Steps over which the loss is averaged in the metrics: a single step's says little."""


def main() -> None:
    """Train, and write the trained weights with their log."""
    params = load_params()
    if not read_rows(paths.HANDED_IN["finetuned"], SAMPLES_SCHEMA, "prepare").empty:
        pass_on()
        return
    if params.finetune.method == "import":
        bring_in(params)
        return
    check_sharding(params.finetune)
    join_processes()
    unet = load_unet(params.chosen)
    identity = {
        "model": params.chosen.model,
        "revision": params.chosen.revision,
        "fingerprint": fingerprint_weights(unet),
    }
    scratch = locate_scratch(params, identity)
    with Meter(scratch / "cost.json") as meter:
        lesson = read_lesson(params, unet, scratch)
        check_pairs(unet, lesson.pairs)
        before = copy_weights(lesson.weights)
        training = build_training(
            unet,
            lesson.weights,
            params.finetune,
            resolve_learning_rate(params.finetune, params.chosen),
            choose_precision(params.chosen, choose_device()),
        )
        checkpoint = scratch / "checkpoint.safetensors"
        history = run_training(training, lesson, checkpoint, "finetune", meter.note)
        cost = meter.note()
    with use_average(training):
        weights = gather_shards(lesson.weights)
        if not is_main_process():
            return
        if any(step.learning_rate > 0 for step in history.steps):
            check_movement(before, copy_weights(weights))
        write_weights(training, weights, params, {**identity, **lesson.identity})
    write_log(history)
    num_all = sum(weight.numel() for weight in training.model.parameters())
    learned = summarise(training.weights, num_all, training.learning_rate, history)
    learned |= describe_update(params)
    write_json({"method": params.finetune.method, **learned}, paths.TRAINING)
    write_cost(cost, paths.TRAINING_COST)
    mark_finished(scratch, paths.TRAINING_COST)


def pass_on() -> None:
    """Put pictures that were handed in where weights would be, and say that none were trained."""
    join_processes()
    if not is_main_process():
        return
    with replace_file(paths.FINETUNED / paths.PICTURES_NAME) as partial:
        shutil.copyfile(paths.HANDED_IN["finetuned"], partial)
    found = {"method": "pictures", "learning_rate": None, "num_trainable_parameters": 0}
    write_json(found, paths.FINETUNED / CONFIG_NAME)
    write_json(found | {"num_steps": 0}, paths.TRAINING)
    write_log(History([], []))
    write_cost(Cost(), paths.TRAINING_COST)  # what others spent is not known
    logger.info("finetune: nothing is trained: pictures were handed in")


def bring_in(params: Params) -> None:
    """Write what others trained, as after a training, with what it makes of the loss."""
    join_processes()
    base, imported = params.chosen, params.imported
    models, foreign = load_models(base), read_foreign(imported.path or "", imported.revision)
    taught = read_taught(paths.SUBJECT)
    found = convert(foreign, models, base, taught.learned if taught else "")
    logger.info("import: %s", found.applied)
    num_all = sum(weight.numel() for weight in models.unet.parameters())
    identity = {
        "model": base.model,
        "revision": base.revision,
        "fingerprint": fingerprint_weights(models.unet),
        "text_encoder": fingerprint_weights(models.text_encoder),
    }
    config = {
        "method": "import",
        "kind": found.kind,
        "applied": found.applied,
        "base": identity,
        "num_tensors": len(found.weights),
        "learning_rate": None,
        "import": {
            "path": imported.path,
            "revision": imported.revision,
            "sha256": foreign.digest,
        },
    }
    captions = read_rows(paths.PAIRS, PAIRS_SCHEMA, "prepare")["caption"]
    losses = measure_import(params, models, found, read_encoded_pairs()["validation"], captions)
    if not is_main_process():
        return
    write_finetuned(paths.FINETUNED, found.weights, config)
    write_log(losses)
    learned = summarise(found.weights, num_all, None, losses)
    write_json({"method": "import", "applied": found.applied, **learned}, paths.TRAINING)
    write_cost(Cost(), paths.TRAINING_COST)  # what others spent is not known


def read_lesson(params: Params, unet: UNet2DConditionModel, scratch: Path) -> Lesson:
    """What the method trains, and on what."""
    base, finetune = params.chosen, params.finetune
    noise_scheduler = load_noise_scheduler(base)
    pairs = read_encoded_pairs()
    taught = read_taught(paths.SUBJECT)
    if taught is None:
        in_domain = (pairs["train"], pairs["validation"])
        return Lesson(choose_weights(unet, finetune), *in_domain, finetune, noise_scheduler)
    of_subject = (pairs["subject"], pairs["subject_held_out"])
    if finetune.method == "textual_inversion":
        rows = read_rows(paths.PAIRS, PAIRS_SCHEMA, "prepare")
        captions = rows[rows["split"].isin(SPLITS[2:])]["caption"].tolist()
        return build_word_lesson(base, finetune, taught, of_subject, captions, noise_scheduler)
    return build_prior_lesson(base, unet, finetune, taught, of_subject, noise_scheduler, scratch)


def read_encoded_pairs() -> dict[str, EncodedPairs]:
    """The pairs of each split.

    Raises:
        UserError: The two files are not of the same pairs.
    """
    latents, embeds = read_latents(paths.LATENTS), read_prompt_embeds(paths.PROMPT_EMBEDS)
    if len(latents.mean) != len(embeds.caption_index):
        raise UserError(
            f"{paths.LATENTS} has {len(latents.mean)} pairs, {paths.PROMPT_EMBEDS} "
            f"{len(embeds.caption_index)}; run `dvc repro -f encode`"
        )
    pairs = EncodedPairs(latents.mean, latents.std, latents.scaling_factor.item(), *embeds)
    # `prepare` keeps the splits together, so each is a part of the mapped file.
    ends = latents.split.bincount(minlength=len(SPLITS)).cumsum(0).tolist()
    parts = itertools.starmap(slice, itertools.pairwise([0, *ends]))
    return {name: pairs.select(part) for name, part in zip(SPLITS, parts, strict=True)}


def locate_scratch(params: Params, identity: dict[str, Any]) -> Path:
    """The folder of checkpoints that fit these params and inputs, and no others."""
    values = {
        "identity": identity,
        "base": params.chosen.model_dump(),
        "finetune": params.finetune.model_dump(),
        "code": hash_code(),
    }
    files = (paths.LATENTS, paths.PROMPT_EMBEDS, paths.SUBJECT)
    return paths.SCRATCH / "finetune" / hash_inputs(values, *files)


def write_weights(
    training: Training, weights: dict[str, Any], params: Params, identity: dict[str, Any]
) -> None:
    """Write what was trained, gathered in `weights`, with its method, base and params."""
    method = params.finetune.method
    trained = extract_weights(training.model, weights, method)
    config = {
        "method": method,
        "base": identity,
        "num_tensors": len(trained),
        "learning_rate": training.learning_rate,
        "finetune": params.finetune.model_dump(),
    }
    write_finetuned(paths.FINETUNED, trained, config, describe_adapters(training.model, params))


def describe_adapters(unet: UNet2DConditionModel, params: Params) -> dict[str, str] | None:
    """The metadata of the file of weights; None if they are the U-Net's own, or a word's."""
    finetune = params.finetune
    if finetune.method == "hydra_lora":
        return describe_hydra_lora(finetune)
    return describe_lora(unet) if finetune.method == "lora" else None


def write_log(history: History) -> None:
    """Write the loss of each step and the validation losses."""
    steps = pd.DataFrame(history.steps, columns=["step", "loss", "grad_norm", "learning_rate", "s"])
    write_table(steps.drop(columns="s"), paths.LOSS)
    validation = pd.DataFrame(history.validation, columns=["step", "validation_loss"])
    write_table(validation, paths.VALIDATION_LOSS)


def summarise(
    weights: Mapping[str, Any], num_all: int, learning_rate: float | None, history: History
) -> dict[str, Any]:
    """The numbers of plots/data/finetune.json; null where no step was taken.

    Args:
        weights: What was trained or imported, by name.
        num_all: Parameters of the U-Net.
        learning_rate: None if it is not known.
        history: The losses.
    """
    losses = pd.Series([step.loss for step in history.steps], dtype="float64")
    num_trainable = sum(weight.numel() for weight in weights.values())
    (_, before), (_, after) = history.validation[0], history.validation[-1]
    return {
        "num_trainable_parameters": num_trainable,
        "trainable_fraction": num_trainable / num_all,
        "num_trainable_tensors": len(weights),
        "checkpoint_bytes": sum(file.stat().st_size for file in paths.FINETUNED.iterdir()),
        "learning_rate": learning_rate,
        "num_steps": len(history.steps),
        f"loss_first_{LOSS_WINDOW}": losses.head(LOSS_WINDOW).mean() if len(losses) else None,
        f"loss_last_{LOSS_WINDOW}": losses.tail(LOSS_WINDOW).mean() if len(losses) else None,
        "validation_loss_before": before,
        "validation_loss_after": after,
        "validation_loss_change": after - before,
        "num_processes": count_processes(),
    }


def describe_update(params: Params) -> dict[str, float]:
    """What half precision leaves of the update that was written.

    Nothing where it is all: for fp32, and for hydra_lora, whose update is added to no weight.
    """
    base, precision = params.chosen, choose_precision(params.chosen, choose_device())
    if precision == "fp32" or params.finetune.method == "hydra_lora":
        return {}
    weights, _ = read_finetuned(paths.FINETUNED)
    unet = load_unet(base)
    apply_weights(unet, weights, params.finetune)
    return measure_update(unet, load_unet(base), DTYPES[precision])


if __name__ == "__main__":
    run_stage(main)
