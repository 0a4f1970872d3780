"""The validation loss of weights that others trained: step 0 without them, step 1 with them."""

from collections.abc import Sequence

from stages.adapters.imported import Imported, apply_imported
from stages.base.components import Models, load_noise_scheduler
from stages.base.device import choose_device, choose_precision
from stages.base.prompts import encode_prompts, list_distinct
from stages.config.params import Params
from stages.training.batches import EncodedPairs, check_pairs
from stages.training.lesson import Lesson
from stages.training.resume import History
from stages.training.train import measure_frozen


def measure_import(
    params: Params,
    models: Models,
    found: Imported,
    pairs: EncodedPairs,
    captions: Sequence[str],
) -> History:
    """Apply what was imported to the models, and measure the loss before and after.

    Args:
        params: Those of the run.
        models: The base's; they are changed.
        found: What was imported.
        pairs: Those of the validation.
        captions: Of all pairs, in the order of data/pairs.parquet.
    """
    precision = choose_precision(params.chosen, choose_device())
    noise_scheduler = load_noise_scheduler(params.chosen)
    history = History()
    for step in range(2):
        if step and found.kind != "word":  # which no caption has
            apply_imported(found.kind, found.weights, models, strength=1)
            if any(name.startswith("text_encoder.") for name in found.weights):
                pairs = encode_again(pairs, captions, models)
        lesson = Lesson({}, pairs, pairs, params.finetune, noise_scheduler)
        check_pairs(models.unet, pairs)
        history.validation.append((step, measure_frozen(models.unet, lesson, precision)))
    return history


def encode_again(pairs: EncodedPairs, captions: Sequence[str], models: Models) -> EncodedPairs:
    """The pairs with their captions as another text encoder has them."""
    rows = pairs.caption_index.unique()
    distinct = list_distinct(captions)
    embeds = pairs.prompt_embeds.clone()
    text_encoder = models.text_encoder.to(choose_device())
    embeds[rows] = encode_prompts(models.tokenizer, text_encoder, [distinct[row] for row in rows])
    return pairs._replace(prompt_embeds=embeds)
