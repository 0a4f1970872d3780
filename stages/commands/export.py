"""models/finetuned/ -> models/exported/: the fine-tuned model, for use without this project.

`pipeline/` is a whole diffusers pipeline: the base with the trained weights, or the new word, in
it. For method lora, `lora.safetensors` is just the adapter, as kohya's sd-scripts, AUTOMATIC1111
and ComfyUI read it; diffusers reads that of models/finetuned/, too. Adapters of hydra_lora can't
be merged into the base, and nothing else reads them: only `hydra_lora.safetensors` is written.
`finetune.json` says how it was trained, on which base. `README.md` is a model card for the hub: the
verdict as it stands in the workspace, the cost, and a snippet that loads the weights.
"""

import json
import logging
import shutil
import sys
from typing import Any

from diffusers import StableDiffusionPipeline
from dvc.exceptions import NotDvcRepoError
from dvc.repo import Repo
from huggingface_hub import ModelCardData

from stages.adapters.applied import apply_finetuned, learns_word
from stages.adapters.hydra_lora import describe_hydra_lora, scale_experts
from stages.adapters.lora import to_kohya
from stages.adapters.word import check_text_encoder
from stages.analysis.results import read_results
from stages.base.components import load_models, load_pipeline
from stages.base.identity import fingerprint_weights
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import BaseParams, FinetuneParams, Params, load_params
from stages.files.hub import is_local
from stages.files.tables import read_json, read_prompts, write_json
from stages.files.taught import name_taught
from stages.files.tensors import read_finetuned, write_tensors
from stages.reporting.markdown import describe_results, digest_prompts, render_card
from stages.run.entry import run_stage

logger = logging.getLogger(__name__)

NAME = "A fine-tuned Stable Diffusion"
LOAD_PIPELINE = """from diffusers import StableDiffusionPipeline

pipe = StableDiffusionPipeline.from_pretrained("pipeline")
"""
LOAD_EXPERTS = """# In the folder of the attune project: diffusers has no such adapters.
import json

from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file

from stages.adapters.hydra_lora import apply_hydra_lora
from stages.config.params import FinetuneParams

pipe = StableDiffusionPipeline.from_pretrained({model!r}, revision={revision!r})
with open("{folder}/finetune.json") as file:
    params = FinetuneParams(**json.load(file)["finetune"])
apply_hydra_lora(pipe.unet, load_file("{folder}/hydra_lora.safetensors"), params)
"""


def main(license_id: str = "") -> None:
    """Write the pipeline, the adapter if there is one, and the card; `license_id` is the hub's."""
    params = load_params()
    if (paths.FINETUNED / paths.PICTURES_NAME).exists():
        raise UserError(
            "pictures.finetuned: its pictures were handed in, so there are no weights to export"
        )
    base, strength = params.chosen, params.imported.strength
    weights, config = read_finetuned(paths.FINETUNED)
    pipeline = build_pipeline(base, weights, config, strength)
    shutil.rmtree(paths.EXPORTED, ignore_errors=True)
    if config["method"] == "hydra_lora":
        export_experts(weights, config, strength)
    else:
        pipeline.save_pretrained(paths.EXPORTED / "pipeline")
    if config["method"] == "lora":
        export_adapter(weights, config["finetune"]["lora"], strength)
    write_json(config, paths.EXPORTED / "finetune.json")
    card = build_card(params, config, license_id)
    (paths.EXPORTED / "README.md").write_text(card, encoding="utf-8")
    logger.info("export: %s", paths.EXPORTED)


def build_pipeline(
    base: BaseParams, weights: dict, config: dict[str, Any], strength: float
) -> StableDiffusionPipeline:
    """The base with what was trained in it.

    Raises:
        UserError: The base is not the one that the weights fit.
    """
    models = load_models(base)
    if learns_word(config):
        check_text_encoder(models.text_encoder, config, base.model)
        pipeline = load_pipeline(base, models)
        pipeline.load_textual_inversion(weights)
        return pipeline
    apply_finetuned(models, fingerprint_weights(models.unet), weights, config, base.model, strength)
    return load_pipeline(base, models)


def export_experts(weights: dict, config: dict[str, Any], strength: float) -> None:
    """Write hydra_lora's adapters at the strength, and say why there is no pipeline."""
    logger.warning(
        "export: no pipeline: what the experts add depends on each token, so it can't be merged "
        "into the weights; README.md has the lines that load hydra_lora.safetensors"
    )
    metadata = describe_hydra_lora(FinetuneParams(**config["finetune"]))
    path = paths.EXPORTED / "hydra_lora.safetensors"
    write_tensors(path, scale_experts(weights, strength), metadata)


def export_adapter(weights: dict, lora: dict, strength: float) -> None:
    """Write the kohya file at the strength, unless it would lose a part on the way."""
    if lora["use_dora"]:  # diffusers 0.42 drops the magnitudes when it reads such a file
        logger.warning("export: no lora.safetensors: the format has no reliable place for DoRA")
        return
    write_tensors(paths.EXPORTED / "lora.safetensors", to_kohya(weights, lora["alpha"] * strength))


def build_card(params: Params, config: dict[str, Any], license_id: str) -> str:
    """The model card, with the results of the workspace if there are any."""
    evidence: dict[str, Any] = {}
    try:
        if stale := list_stale():
            raise UserError(f"{', '.join(stale)} would run again; run `dvc repro`")
        results = read_results(paths.COMPARISON_TABLES)
        evidence = {
            "verdict": results.verdict,
            "sets": results.by_set.to_dict("records"),
            "cost": read_json(paths.COST, "report"),
            "digests": digest_prompts(read_prompts(paths.PROMPTS)),
            "confidence_level": params.compare.confidence_level,
        }
    except UserError as error:
        logger.warning("export: the card has no verdict: %s", error)
    base, method = params.chosen, config["method"]
    is_hub = not is_local(base.model)
    data = ModelCardData(
        base_model=base.model if is_hub else None,
        library_name=None if method == "hydra_lora" else "diffusers",
        license=license_id or "unknown",
        model_name=NAME if evidence else None,
        pipeline_tag="text-to-image",
        tags=["stable-diffusion", "text-to-image", *(["lora"] if method == "lora" else [])],
        eval_results=describe_results(evidence["sets"], evidence["digests"]) if evidence else None,
    )
    about = {
        "name": NAME,
        "model": base.model,
        "revision": base.revision,
        "method": method,
        "applied": config.get("applied", ""),
        "strength": params.imported.strength,
        "license": license_id,
        "snippet": write_snippet(params, config),
        "finetune": config.get("finetune") or config["import"],
    }
    return render_card(data, evidence, about)


def list_stale() -> list[str]:
    """The stages that `dvc repro` would run: results of these may be of other weights."""
    try:
        with Repo() as repo:
            found = repo.status()
    except NotDvcRepoError:
        return []
    return [stage for stage, changes in found.items() if changes != ["always changed"]]


def write_snippet(params: Params, config: dict[str, Any]) -> str:
    """Lines of Python that load the exported weights and draw a picture."""
    if learns_word(config):
        prompt = f"a photo of a {params.subject.placeholder}"
    elif taught := name_taught(params):
        prompt = f"a photo of a {taught.learned}"
    else:
        prompt = params.prompts.class_templates[0].replace("{}", params.prepare.classes[0])
    draw = f"pipe({json.dumps(prompt)}).images[0]"
    if config["method"] == "hydra_lora":
        place = {"model": params.chosen.model, "revision": params.chosen.revision}
        return LOAD_EXPERTS.format(**place, folder=paths.EXPORTED) + draw
    return LOAD_PIPELINE + draw


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
