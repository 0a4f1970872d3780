"""Build the tiny base and its scorer from nothing: `make tiny`, or `python -m stages.tiny --help`.

Not a stage of the pipeline: what it makes is committed, and only whoever changes the drawings or
the recipe runs it. Parts that are finished are not trained again; a part that was killed goes on
from its last checkpoint.
"""

import argparse
import logging
from pathlib import Path

from diffusers import AutoencoderKL
from safetensors.torch import load_file, save_file
from transformers import CLIPTokenizer

from stages.config.params import load_params
from stages.files.atomic import replace_file
from stages.run.entry import run_stage
from stages.tiny import recipe
from stages.tiny.card import write_card
from stages.tiny.denoiser import save_generator, train_denoiser
from stages.tiny.drawings import Drawings, load_drawings, load_photographs
from stages.tiny.measure import measure_quality, write_results
from stages.tiny.scorer import save_scorer, train_scorer
from stages.tiny.tokenizer import build_tokenizer
from stages.tiny.vae import encode_all, train_vae

logger = logging.getLogger(__name__)

PARTS = ("vae", "denoiser", "scorer", "measure")
CONTACT_SHEET = Path("docs/images/tiny.png")
LATENTS = recipe.SCRATCH / "latents.safetensors"
"""The last thing that part vae makes."""


def main() -> None:
    """Build the parts that are asked for, in order."""
    arguments = _parse_arguments()
    for part in arguments.parts or PARTS:
        BUILDERS[part](arguments.photographs)


def build_vae(photographs: Path | None) -> None:
    """Train the autoencoder and cache the latents of the illustrations."""
    if LATENTS.exists():
        logger.info("vae: finished before")
        return
    sets, weights = _load_sets(photographs)
    vae = train_vae([drawings.images for drawings in sets], weights)
    vae.save_pretrained(recipe.SCRATCH / "vae")
    latents = encode_all(vae, sets[0].images)
    with replace_file(LATENTS) as partial:
        save_file({"latents": latents}, partial)


def build_denoiser(photographs: Path | None) -> None:
    """Train text encoder and U-Net, and write the whole generator."""
    del photographs  # the base knows illustrations only: photographs are what it is fine-tuned on
    captions = load_drawings("illustration").captions
    tokenizer = _load_tokenizer()
    latents = load_file(LATENTS)["latents"]
    denoiser = train_denoiser(latents, captions, tokenizer)
    vae = AutoencoderKL.from_pretrained(recipe.SCRATCH / "vae", use_safetensors=True)
    save_generator(vae, denoiser.cpu(), tokenizer, recipe.GENERATOR)


def build_scorer(photographs: Path | None) -> None:
    """Train the scorer and write it."""
    sets, weights = _load_sets(photographs, illustration=0.4, photo=0.2)
    tokenizer = _load_tokenizer()
    save_scorer(train_scorer(sets, weights, tokenizer), tokenizer, recipe.SCORER)


def measure(photographs: Path | None) -> None:
    """Measure what was built and put the results into the model card."""
    del photographs
    write_results(measure_quality(load_params(), CONTACT_SHEET))
    write_card()


BUILDERS = {
    "vae": build_vae,
    "denoiser": build_denoiser,
    "scorer": build_scorer,
    "measure": measure,
}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.tiny", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {PARTS}; all by default")
    parser.add_argument(
        "--photographs",
        type=Path,
        help="CIFAR-10 as parquet (columns img, label): the VAE and the scorer learn from it too",
    )
    arguments = parser.parse_args()
    unknown = [part for part in arguments.parts if part not in PARTS]
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    return arguments


def _load_sets(
    photographs: Path | None, illustration: float = 0.8, photo: float = 0.1
) -> tuple[list[Drawings], list[float]]:
    """Picture sets and the share of a batch that comes from each."""
    sets, weights = [load_drawings("illustration"), load_drawings("photo")], [illustration, photo]
    if photographs:
        sets.append(load_photographs(photographs))
        weights.append(1 - illustration - photo)
    return sets, weights


def _load_tokenizer() -> CLIPTokenizer:
    return build_tokenizer(sorted(set(load_drawings("illustration").captions)))


if __name__ == "__main__":
    run_stage(main)
