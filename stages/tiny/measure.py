"""Measure the tiny base and its scorer, on seeds that were never trained on, against their bars.

Everything is loaded as a user would: plain diffusers and plain open_clip on the shipped folders.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import open_clip
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from stages.config.params import Params
from stages.files.captions import fill_template
from stages.sources.drawing.pictures import Look
from stages.sources.drawing.things import CLASS_NAMES, THINGS
from stages.tiny import recipe
from stages.tiny.drawings import Drawings, draw_many
from stages.tiny.vae import to_pixel_values

NUM_HELD_OUT = 60
"""Held-out drawings of each thing and look."""
NUM_STEPS, GUIDANCE_SCALE = 30, 7.5
RESULTS = recipe.GENERATOR / "quality.json"


class Bar(NamedTuple):
    """What a quality must reach: at least `value`, or at most if `is_ceiling`."""

    value: float
    is_ceiling: bool = False

    def is_met(self, found: float) -> bool:
        """Whether a measured value reaches the bar."""
        return found <= self.value if self.is_ceiling else found >= self.value


BARS = {
    "vae_psnr_db": Bar(27),
    "scorer_accuracy_illustration": Bar(0.98),
    "scorer_accuracy_photo": Bar(0.95),
    "scorer_cosine_gap": Bar(0.25),
    "generated_accuracy_class": Bar(0.90),
    "generated_accuracy_marketing": Bar(0.90),
    "colours_obeyed": Bar(0.80),
    "seconds_per_picture": Bar(0.35, is_ceiling=True),
    "megabytes": Bar(20, is_ceiling=True),
}


class Scorer:
    """The shipped scorer, loaded with plain open_clip."""

    def __init__(self) -> None:
        name = f"local-dir:{recipe.SCORER}"
        self.model, _, self.preprocess = open_clip.create_model_and_transforms(name)
        self.tokenizer = open_clip.get_tokenizer(name)
        self.model.eval()

    @torch.no_grad()
    def embed_images(self, images: Sequence[Image.Image]) -> Tensor:
        """Unit-norm image embeds (N, E)."""
        pixel_values = torch.stack([self.preprocess(image) for image in images])
        batches = [self.model.encode_image(batch) for batch in pixel_values.split(256)]
        return F.normalize(torch.cat(batches), dim=-1)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit-norm text embeds (N, E)."""
        return F.normalize(self.model.encode_text(self.tokenizer(list(texts))), dim=-1)

    def classify(self, images: Sequence[Image.Image], names: Sequence[str]) -> list[str]:
        """The name whose "a photo of a NAME" is nearest, for each picture."""
        texts = self.embed_texts([fill_template("a photo of a {}", name) for name in names])
        return [names[i] for i in (self.embed_images(images) @ texts.T).argmax(1).tolist()]


def measure_quality(params: Params, contact_sheet: Path) -> dict[str, float]:
    """Measure everything in `BARS`; the prompts are those of params.yaml."""
    torch.set_num_threads(2)
    scorer, pipeline = Scorer(), load_pipeline()
    results = {"vae_psnr_db": measure_psnr(pipeline)}
    results |= measure_scorer(scorer)
    class_prompts = [
        (name, fill_template(template, name))
        for template in params.prompts.class_templates
        for name in params.prepare.classes
    ]
    marketing = [(entry.class_name, entry.prompt) for entry in params.prompts.marketing]
    results["generated_accuracy_class"] = measure_accuracy(scorer, pipeline, class_prompts, 4)
    results["generated_accuracy_marketing"] = measure_accuracy(scorer, pipeline, marketing, 10)
    results["colours_obeyed"] = measure_colours(scorer, pipeline)
    results["seconds_per_picture"] = measure_seconds(pipeline)
    files = [*recipe.GENERATOR.rglob("*.*"), *recipe.SCORER.rglob("*.*")]
    results["megabytes"] = sum(f.stat().st_size for f in files if f.suffix == ".safetensors") / 1e6
    draw_contact_sheet(pipeline, contact_sheet)
    return {name: round(value, 4) for name, value in results.items()}


def load_pipeline() -> StableDiffusionPipeline:
    """The shipped generator, loaded with plain diffusers."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        recipe.GENERATOR, local_files_only=True, use_safetensors=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@torch.no_grad()
def measure_psnr(pipeline: StableDiffusionPipeline) -> float:
    """PSNR in dB of reconstructed held-out illustrations, mean over pictures."""
    pixel_values = to_pixel_values(_draw_held_out("illustration", 16).images).cpu()
    errors = []
    for batch in pixel_values.split(64):
        latents = pipeline.vae.encode(batch).latent_dist.mean
        decoded = pipeline.vae.decode(latents).sample.clamp(-1, 1)
        errors.append((decoded - batch).square().mean((1, 2, 3)) / 4)  # in [0, 1]
    return float((-10 * torch.cat(errors).log10()).mean())


def measure_scorer(scorer: Scorer) -> dict[str, float]:
    """Zero-shot accuracy on both looks, and how far matching pairs stand above others."""
    results, gaps = {}, []
    looks: dict[Look, list[str]] = {"illustration": list(THINGS), "photo": list(CLASS_NAMES)}
    for look, names in looks.items():
        drawings = _draw_held_out(look, NUM_HELD_OUT)
        images = [Image.fromarray(image) for image in drawings.images]
        found = np.array(scorer.classify(images, names))
        results[f"scorer_accuracy_{look}"] = float((found == np.array(drawings.things)).mean())
        cosines = scorer.embed_images(images) @ scorer.embed_texts(drawings.captions).T
        others = (cosines.sum() - cosines.trace()) / (cosines.numel() - len(cosines))
        gaps.append(float(cosines.diagonal().mean() - others))
    return results | {"scorer_cosine_gap": min(gaps)}


def measure_accuracy(
    scorer: Scorer,
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[tuple[str, str]],
    count: int,
) -> float:
    """Zero-shot accuracy over sixteen things, of `count` pictures for each (thing, prompt)."""
    jobs = [(thing, prompt) for thing, prompt in prompts for _ in range(count)]
    images = generate(pipeline, [prompt for _, prompt in jobs])
    found = scorer.classify(images, list(THINGS))
    return float(np.mean([f == thing for f, (thing, _) in zip(found, jobs, strict=True)]))


def measure_colours(scorer: Scorer, pipeline: StableDiffusionPipeline) -> float:
    """Share of pairs in which a picture is nearer "a COLOUR THING" than another colour of it."""
    jobs = [
        (thing.name, colour)
        for thing in THINGS.values()
        for colour in sorted(set(thing.colours))
        if len(set(thing.colours)) > 1
    ]
    prompts = [fill_template("a {}", f"{colour} {name}") for name, colour in jobs]
    images = scorer.embed_images(generate(pipeline, prompts))
    wins = []
    for image, (name, colour) in zip(images, jobs, strict=True):
        others = sorted(set(THINGS[name].colours) - {colour})
        texts = [fill_template("a {}", f"{c} {name}") for c in (colour, *others)]
        cosines = scorer.embed_texts(texts) @ image
        wins += (cosines[0] > cosines[1:]).tolist()
    return float(np.mean(wins))


def measure_seconds(pipeline: StableDiffusionPipeline) -> float:
    """Seconds a picture at batch 32 on two threads: the median of three runs."""
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        generate(pipeline, ["a photo of a cat"] * 32)
        seconds.append((time.perf_counter() - started) / 32)
    return sorted(seconds)[1]


def generate(pipeline: StableDiffusionPipeline, prompts: Sequence[str]) -> list[Image.Image]:
    """A picture a prompt, picture i from the noise of seed i."""
    images = []
    for first in tqdm(range(0, len(prompts), 32), desc="generate"):
        batch = list(prompts[first : first + 32])
        generators = [torch.Generator().manual_seed(first + i) for i in range(len(batch))]
        images += pipeline(
            batch,
            num_inference_steps=NUM_STEPS,
            guidance_scale=GUIDANCE_SCALE,
            generator=generators,
            height=recipe.IMAGE_SIZE_PX,
            width=recipe.IMAGE_SIZE_PX,
        ).images
    return images


def draw_contact_sheet(pipeline: StableDiffusionPipeline, path: Path, columns: int = 8) -> None:
    """Write a sheet of generated pictures: a row a thing, `columns` pictures each, enlarged."""
    prompts = [fill_template("a photo of a {}", name) for name in THINGS for _ in range(columns)]
    pixels = np.stack([np.asarray(image) for image in generate(pipeline, prompts)])
    size = recipe.IMAGE_SIZE_PX
    sheet = pixels.reshape(len(THINGS), columns, size, size, 3).transpose(0, 2, 1, 3, 4)
    image = Image.fromarray(sheet.reshape(len(THINGS) * size, columns * size, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.LANCZOS).save(path)


def write_results(results: dict[str, float]) -> None:
    """Write what was measured beside the weights."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")


def _draw_held_out(look: Look, count: int) -> Drawings:
    names = THINGS if look == "illustration" else CLASS_NAMES
    first = recipe.FIRST_HELD_OUT_SEED
    return draw_many([(look, name, first + i) for name in names for i in range(count)])
