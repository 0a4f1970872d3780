"""The one thing that textual_inversion and dreambooth learn: its pictures, words and prompts.

Reads the source of `instance`; writes data/instance.parquet, data/instance.json and
data/instance_prompts.csv. For every other method all three are empty, whatever `instance` says, so
that a change of it makes nothing else run again.
"""

import hashlib
import logging
from typing import Any

import pandas as pd

from stages.config import paths
from stages.config.params import InstanceParams, load_params
from stages.files.captions import fill_template
from stages.files.images import encode_png, resize_to_square
from stages.files.instance import EMPTY, Instance, write_instance
from stages.run.entry import run_stage
from stages.sources.instance import choose_instance, open_instance

logger = logging.getLogger(__name__)


def main() -> None:
    """Write what the method of params.yaml has to know of the thing, if it learns one."""
    params = load_params()
    instance = EMPTY
    if params.finetune.learns_instance:
        learned = name_learned(params.finetune.method, params.instance)
        instance = Instance(
            build_pictures(params.instance, learned, params.chosen.resolution_px),
            list_words(params.finetune.method, params.instance),
            build_prompts(params.instance, learned),
        )
    write_instance(instance, paths.INSTANCE, paths.INSTANCE_WORDS, paths.INSTANCE_PROMPTS)
    counts = instance.pictures["split"].value_counts().to_dict()
    logger.info("instance: %s, %d prompts", counts or "no pictures", len(instance.prompts))


def name_learned(method: str, instance: InstanceParams) -> str:
    """What the fine-tuned model is to call the thing.

    The new word (Gal et al. 2022), or a rare one in front of the class (Ruiz et al. 2023, section
    3.2).
    """
    if method == "textual_inversion":
        return instance.placeholder
    return f"{instance.identifier} {instance.class_name}"


def list_words(method: str, instance: InstanceParams) -> dict[str, Any]:
    """The words that training needs besides the captions."""
    if method == "textual_inversion":
        return {"placeholder": instance.placeholder, "initializer": instance.initializer}
    templates = instance.caption_templates
    return {"class_captions": [fill_template(text, instance.class_name) for text in templates]}


def build_pictures(instance: InstanceParams, learned: str, resolution_px: int) -> pd.DataFrame:
    """The pictures, square and resized, with captions that take the templates by turns."""
    source = open_instance(instance)
    choice = choose_instance(source, instance)
    templates = instance.caption_templates
    return pd.DataFrame(
        {
            "image": encode_png(resize_to_square(source.load_image(index), resolution_px)),
            "caption": fill_template(templates[turn % len(templates)], learned),
            "split": split,
            "source_id": source.entries[index].source_id,
        }
        for split, indices in (("train", choice.train), ("held_out", choice.validation))
        for turn, index in enumerate(indices)
    )


def build_prompts(instance: InstanceParams, learned: str) -> pd.DataFrame:
    """A row a template: the baseline is asked for the class, the fine-tuned for what it learned."""
    return pd.DataFrame(
        {
            "prompt_id": f"instance-{hashlib.blake2b(text.encode(), digest_size=3).hexdigest()}",
            "baseline": fill_template(text, instance.class_name),
            "finetuned": fill_template(text, learned),
        }
        for text in instance.prompt_templates
    )


if __name__ == "__main__":
    run_stage(main)
