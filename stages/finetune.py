"""Fine-tune the base by the method of `finetune.method`, on the encoded pairs or on one thing.

Reads data/latents.safetensors, data/prompt_embeds.safetensors and the base's U-Net; for
textual_inversion and dreambooth data/instance.* and the rest of the base instead of the pairs.
Writes models/finetuned/ (only the trained weights), metrics/finetune.json, plots/loss.csv and
plots/validation_loss.csv. Checkpoints wait in scratch/, so that a run that was killed goes on to
the same bytes.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from diffusers import UNet2DConditionModel
from tqdm import tqdm

from stages.adapters.lora import describe_lora
from stages.adapters.methods import (
    check_movement,
    choose_weights,
    copy_weights,
    extract_weights,
)
from stages.base.components import (
    choose_device,
    choose_precision,
    load_noise_scheduler,
    load_unet,
    measure_peak_memory,
)
from stages.base.identity import fingerprint_weights
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import Params, load_params
from stages.files.images import decode_image
from stages.files.instance import read_instance_pictures, read_instance_words
from stages.files.tables import write_json, write_table
from stages.files.tensors import (
    hash_inputs,
    read_checkpoint,
    read_latents,
    read_prompt_embeds,
    write_finetuned,
    write_tensors,
)
from stages.run.entry import run_stage
from stages.run.interrupt import defer_interrupt
from stages.run.processes import count_processes, is_main_process, join_processes
from stages.run.scratch import hash_code, mark_finished
from stages.training.batches import EncodedPairs, check_pairs
from stages.training.lesson import (
    InstancePictures,
    Lesson,
    prepare_dreambooth,
    prepare_inversion,
)
from stages.training.parallel import is_true_anywhere
from stages.training.resume import History, pack_checkpoint, unpack_checkpoint
from stages.training.sharding import check_sharding, gather_shards
from stages.training.train import (
    Training,
    build_training,
    measure_validation_loss,
    train,
    use_average,
)

logger = logging.getLogger(__name__)

LOSS_WINDOW = 50
"""Steps over which the loss is averaged in the metrics: a single step's says little."""


def main() -> None:
    """Train, and write the trained weights with their log."""
    params = load_params()
    check_sharding(params.finetune)
    join_processes()
    unet = load_unet(params.chosen)
    identity = {
        "model": params.chosen.model,
        "revision": params.chosen.revision,
        "fingerprint": fingerprint_weights(unet),
    }
    scratch = locate_scratch(params, identity)
    lesson = read_lesson(params, unet, scratch)
    check_pairs(unet, lesson.pairs)
    before = copy_weights(lesson.weights)
    training = build_training(
        unet,
        lesson.weights,
        load_noise_scheduler(params.chosen),
        params.finetune,
        params.learning_rate,
        choose_precision(params.chosen, choose_device()),
    )
    training = replace(training, captions=lesson.captions, prior=lesson.prior)
    pairs = (lesson.pairs, lesson.validation_pairs)
    history = run_training(training, pairs, scratch / "checkpoint.safetensors")
    with use_average(training):
        weights = gather_shards(lesson.weights)
        if not is_main_process():
            return
        if any(step.learning_rate > 0 for step in history.steps):
            check_movement(before, copy_weights(weights))
        write_weights(training, weights, params, identity | (lesson.identity or {}))
    write_log(history)
    write_json(summarise(training, history), paths.FINETUNE_METRICS)
    mark_finished(scratch)


def read_lesson(params: Params, unet: UNet2DConditionModel, scratch: Path) -> Lesson:
    """What the method trains, and on what."""
    if not params.finetune.learns_instance:
        return Lesson(choose_weights(unet, params.finetune), *read_encoded_pairs())
    table = read_instance_pictures(paths.INSTANCE)
    words = read_instance_words(paths.INSTANCE_WORDS)
    named = zip(table["image"], table["source_id"], strict=True)
    pictures = InstancePictures(
        images=np.stack([np.asarray(decode_image(*row)) for row in named]),
        captions=table["caption"].tolist(),
        is_train=(table["split"] == "train").tolist(),
    )
    base, finetune = params.chosen, params.finetune
    if finetune.method == "textual_inversion":
        return prepare_inversion(base, finetune, pictures, words)
    return prepare_dreambooth(base, finetune, unet, pictures, words, scratch)


def read_encoded_pairs() -> tuple[EncodedPairs, EncodedPairs]:
    """The pairs to train on and those to validate on.

    Raises:
        UserError: The two files are not of the same pairs.
    """
    latents, embeds = read_latents(paths.LATENTS), read_prompt_embeds(paths.PROMPT_EMBEDS)
    if len(latents.mean) != len(embeds.caption_index):
        raise UserError(
            f"{paths.LATENTS} has {len(latents.mean)} pairs, {paths.PROMPT_EMBEDS} "
            f"{len(embeds.caption_index)}; run `dvc repro -f encode`"
        )
    factor = latents.scaling_factor.item()
    pairs = EncodedPairs(latents.mean, latents.std, factor, *embeds)
    num_train = int(latents.is_train.sum())
    if latents.is_train[:num_train].all():  # as `prepare` has them: parts of the mapped file
        return pairs.select(slice(num_train)), pairs.select(slice(num_train, None))
    return pairs.select(latents.is_train), pairs.select(~latents.is_train)


def locate_scratch(params: Params, identity: dict[str, Any]) -> Path:
    """The folder of checkpoints that fit these params and inputs, and no others."""
    values = {
        "identity": identity,
        "base": params.chosen.model_dump(),
        "finetune": params.finetune.model_dump(),
        "code": hash_code(),
    }
    files = (paths.LATENTS, paths.PROMPT_EMBEDS)
    if params.finetune.learns_instance:
        files = (paths.INSTANCE, paths.INSTANCE_WORDS)
    return paths.SCRATCH / "finetune" / hash_inputs(values, *files)


def run_training(
    training: Training, pairs: tuple[EncodedPairs, EncodedPairs], checkpoint: Path
) -> History:
    """Train to the last step, from the checkpoint if there is one."""
    params = training.params
    train_pairs, validation_pairs = pairs
    if tensors := read_checkpoint(checkpoint):
        history = unpack_checkpoint(training, tensors)
        logger.info("finetune: goes on after step %d", len(history.steps))
    else:
        history = History(validation=[(0, measure_validation_loss(training, validation_pairs))])
    steps = train(training, train_pairs, history.next_step)
    with (
        tqdm(
            total=params.max_train_steps,
            initial=len(history.steps),
            desc="finetune",
            disable=not is_main_process(),
        ) as bar,
        defer_interrupt() as is_interrupted,
    ):
        for record in steps:
            step, is_last = record.step, record.step == params.max_train_steps
            history.steps.append(record)
            if is_last or step % params.validation_steps == 0:
                loss = measure_validation_loss(training, validation_pairs)
                history.validation.append((step, loss))
            is_stopping = is_true_anywhere(training.accelerator, is_interrupted())
            if is_last or step % params.checkpoint_steps == 0 or is_stopping:
                write_checkpoint(checkpoint, training, history)
            bar.set_postfix(loss=f"{record.loss:.4f}", refresh=False)
            bar.update()
            if is_stopping:
                raise KeyboardInterrupt(f"after step {step}; `dvc repro` goes on from there")
    return history


def write_checkpoint(path: Path, training: Training, history: History) -> None:
    """Write the state of the training, to which all processes contribute their shards, if any."""
    tensors = pack_checkpoint(training, history)
    if is_main_process():
        write_tensors(path, tensors)


def write_weights(
    training: Training, weights: dict[str, Any], params: Params, identity: dict[str, Any]
) -> None:
    """Write what was trained, gathered in `weights`, with its method, base and params."""
    method = params.finetune.method
    trained = extract_weights(training.unet, weights, method)
    config = {
        "method": method,
        "base": identity,
        "num_tensors": len(trained),
        "learning_rate": params.learning_rate,
        "finetune": params.finetune.model_dump(),
    }
    metadata = describe_lora(training.unet) if method == "lora" else None
    write_finetuned(paths.FINETUNED, trained, config, metadata)


def write_log(history: History) -> None:
    """Write the loss of each step and the validation losses."""
    steps = pd.DataFrame(history.steps, columns=["step", "loss", "grad_norm", "learning_rate", "s"])
    write_table(steps.drop(columns="s"), paths.LOSS)
    validation = pd.DataFrame(history.validation, columns=["step", "validation_loss"])
    write_table(validation, paths.VALIDATION_LOSS)


def summarise(training: Training, history: History) -> dict[str, Any]:
    """The numbers of metrics/finetune.json; null where no step was taken."""
    losses = pd.Series([step.loss for step in history.steps], dtype="float64")
    seconds = sum(step.duration_s for step in history.steps)
    num_trainable = sum(weight.numel() for weight in training.weights.values())
    num_all = sum(weight.numel() for weight in training.unet.parameters())
    (_, before), (_, after) = history.validation[0], history.validation[-1]
    return {
        "method": training.params.method,
        "num_trainable_parameters": num_trainable,
        "trainable_fraction": num_trainable / num_all,
        "num_trainable_tensors": len(training.weights),
        "learning_rate": training.learning_rate,
        "num_steps": len(history.steps),
        f"loss_first_{LOSS_WINDOW}": losses.head(LOSS_WINDOW).mean() if len(losses) else None,
        f"loss_last_{LOSS_WINDOW}": losses.tail(LOSS_WINDOW).mean() if len(losses) else None,
        "validation_loss_before": before,
        "validation_loss_after": after,
        "validation_loss_change": after - before,
        "steps_per_second": len(losses) / seconds if seconds else None,
        "peak_memory_mib": measure_peak_memory(),
        "num_processes": count_processes(),
    }


if __name__ == "__main__":
    run_stage(main)
