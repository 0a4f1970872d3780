"""Build the tiny base, its scorer and its guide from nothing: `make tiny`.

Or `python -m stages.tiny --help`. Not a stage of the pipeline: what it makes is committed, and only
whoever changes the drawings or the recipe runs it. Parts that are finished are not trained again; a
part that was killed goes on from its last checkpoint.
"""

import argparse
import logging
from pathlib import Path

from diffusers import AutoencoderKL
from safetensors.torch import load_file
from transformers import CLIPTokenizer

from stages.config.params import FinetuneParams, load_params
from stages.files.tensors import write_tensors
from stages.run.entry import run_stage
from stages.tiny import recipe
from stages.tiny.denoiser import save_generator, train_denoiser
from stages.tiny.drawings import Mixture, load_drawings, load_photographs, mix
from stages.tiny.measure import measure_quality, write_results
from stages.tiny.scorer import save_scorer, train_scorer
from stages.tiny.tokenizer import build_tokenizer
from stages.tiny.vae import encode_all, train_vae

logger = logging.getLogger(__name__)

CONTACT_SHEET = Path("docs/images/tiny.png")
LATENTS = recipe.SCRATCH / "latents.safetensors"
"""The last thing that part vae makes."""


def main() -> None:
    """Build the parts that are asked for, in order."""
    parser = argparse.ArgumentParser(prog="python -m stages.tiny", description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*BUILDERS, "all"], default="all")
    parser.add_argument(
        "--photographs",
        type=Path,
        help="CIFAR-10 as parquet (columns img, label): the VAE and both CLIPs learn from it too",
    )
    arguments = parser.parse_args()
    for part in BUILDERS if "all" in arguments.parts else arguments.parts:
        BUILDERS[part](arguments.photographs)


def build_vae(photographs: Path | None) -> None:
    """Train the autoencoder and cache the latents of the illustrations."""
    if LATENTS.exists():
        logger.info("vae: finished before")
        return
    vae = train_vae(_load_sets(photographs))
    vae.save_pretrained(recipe.SCRATCH / "vae")
    latents = encode_all(vae, load_drawings("illustration").images)
    write_tensors(LATENTS, {"latents": latents})


def build_denoiser(_photographs: Path | None) -> None:
    """Train text encoder and U-Net, and write the whole generator.

    It knows illustrations only: photographs are what it is fine-tuned on.
    """
    captions = load_drawings("illustration").captions
    tokenizer = _load_tokenizer()
    latents = load_file(LATENTS)["latents"]
    denoiser = train_denoiser(latents, captions, tokenizer)
    vae = AutoencoderKL.from_pretrained(recipe.SCRATCH / "vae", use_safetensors=True)
    save_generator(vae, denoiser.cpu(), tokenizer, recipe.GENERATOR)


def build_scorer(photographs: Path | None) -> None:
    """Train the scorer, which judges, and write it."""
    _build_clip("scorer", recipe.SCORER_TRAINING, recipe.SCORER, photographs)


def build_guide(photographs: Path | None) -> None:
    """Train the guide, for CLIP-guided sampling, and write it."""
    _build_clip("guide", recipe.GUIDE_TRAINING, recipe.GUIDE, photographs)


def measure(_photographs: Path | None) -> None:
    """Measure what was built and put the results into the model card."""
    write_results(measure_quality(load_params(), CONTACT_SHEET))


BUILDERS = {
    "vae": build_vae,
    "denoiser": build_denoiser,
    "scorer": build_scorer,
    "guide": build_guide,
    "measure": measure,
}


def _build_clip(name: str, plan: FinetuneParams, folder: Path, photographs: Path | None) -> None:
    mixture, tokenizer = _load_sets(photographs, illustration=0.4, photo=0.2), _load_tokenizer()
    save_scorer(train_scorer(name, plan, mixture, tokenizer), tokenizer, folder)


def _load_sets(photographs: Path | None, illustration: float = 0.8, photo: float = 0.1) -> Mixture:
    """The picture sets, and the share of a batch that comes from each."""
    sets, shares = [load_drawings("illustration"), load_drawings("photo")], [illustration, photo]
    if photographs:
        sets.append(load_photographs(photographs))
        shares.append(1 - illustration - photo)
    return mix(sets, shares)


def _load_tokenizer() -> CLIPTokenizer:
    return build_tokenizer(sorted(set(load_drawings("illustration").captions)))


if __name__ == "__main__":
    run_stage(main)
