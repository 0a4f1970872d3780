"""models/finetuned/ -> models/exported/: the fine-tuned model, for use without this project.

`pipeline/` is a whole diffusers pipeline: the base with the trained weights, or the new word, in
it. For method lora, `lora.safetensors` is just the adapter, as kohya's sd-scripts, AUTOMATIC1111
and ComfyUI read it; diffusers reads that of models/finetuned/, too.
`finetune.json` says how it was trained, on which base.
"""

import logging
import shutil

from stages.adapters.applied import apply_finetuned, learns_word
from stages.adapters.lora import to_kohya
from stages.adapters.word import check_text_encoder
from stages.base.components import load_models, load_pipeline
from stages.config import paths
from stages.config.params import load_params
from stages.files.tables import write_json
from stages.files.tensors import read_finetuned, write_tensors
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)


def main() -> None:
    """Write the pipeline, and the adapter if there is one."""
    params = load_params()
    base, strength = params.chosen, params.imported.strength
    weights, config = read_finetuned(paths.FINETUNED)
    models = load_models(base)
    if learns_word(config):
        check_text_encoder(models.text_encoder, config, base.model)
        pipeline = load_pipeline(base, models)
        pipeline.load_textual_inversion(weights)
    else:
        apply_finetuned(models, weights, config, base.model, strength)
        pipeline = load_pipeline(base, models)

    shutil.rmtree(paths.EXPORTED, ignore_errors=True)
    pipeline.save_pretrained(paths.EXPORTED / "pipeline")
    if config["method"] == "lora":
        export_adapter(weights, config["finetune"]["lora"], strength)
    write_json(config, paths.EXPORTED / "finetune.json")
    logger.info("export: %s", paths.EXPORTED)


def export_adapter(weights: dict, lora: dict, strength: float) -> None:
    """Write the kohya file at the strength, unless it would lose a part on the way."""
    if lora["use_dora"]:  # diffusers 0.42 drops the magnitudes when it reads such a file
        logger.warning("export: no lora.safetensors: the format has no reliable place for DoRA")
        return
    write_tensors(paths.EXPORTED / "lora.safetensors", to_kohya(weights, lora["alpha"] * strength))


if __name__ == "__main__":
    run_stage(main)
