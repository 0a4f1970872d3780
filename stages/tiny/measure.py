"""Measure the tiny base and its scorer, on seeds that were never trained on, against their bars.

Everything is loaded as a user would: plain diffusers and plain open_clip on the shipped folders.
"""

import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import open_clip
import torch
from diffusers import StableDiffusionPipeline
from diffusers.utils import make_image_grid
from PIL import Image
from tqdm import tqdm

from stages.base.latents import decode_latents, encode_posterior, to_pixel_values
from stages.config.params import Params
from stages.files.captions import fill_template
from stages.scoring.embed import embed_images, embed_texts
from stages.scoring.scorer import Scorer
from stages.sources.drawing.pictures import Look
from stages.sources.drawing.things import THINGS
from stages.tiny import recipe
from stages.tiny.drawings import NAMES, Drawings, draw_many

NUM_HELD_OUT = 60
"""Held-out drawings of each thing and look."""
NUM_STEPS, GUIDANCE_SCALE = 30, 7.5
RESULTS = recipe.GENERATOR / "quality.json"
CARD = recipe.GENERATOR / "README.md"
TABLE = re.compile(r"(<!-- quality -->\n).*?(<!-- /quality -->)", re.DOTALL)


class Bar(NamedTuple):
    """What a quality must reach: at least `value`, or at most if `is_ceiling`."""

    meaning: str
    value: float
    is_ceiling: bool = False

    def is_met(self, found: float) -> bool:
        """Whether a measured value reaches the bar."""
        return found <= self.value if self.is_ceiling else found >= self.value


BARS = {
    "vae_psnr_db": Bar("VAE reconstruction of illustrations, PSNR in dB", 27),
    "scorer_accuracy_illustration": Bar(
        "scorer, zero-shot accuracy over 16 things, illustrations", 0.98
    ),
    "scorer_accuracy_photo": Bar("scorer, zero-shot accuracy over 10 classes, photo look", 0.95),
    "scorer_cosine_gap": Bar(
        "scorer, cosine of matching minus mismatched pairs, the worse look", 0.25
    ),
    "guide_accuracy_illustration": Bar("guide, over 16 things, illustrations", 0.98),
    "guide_accuracy_photo": Bar("guide, over 10 classes, photo look", 0.95),
    "guide_cosine_gap": Bar("guide, cosine of matching minus mismatched pairs", 0.25),
    "generated_accuracy_class": Bar(
        "generated from class prompts, zero-shot accuracy over 16", 0.90
    ),
    "generated_accuracy_marketing": Bar("generated from marketing prompts, the same", 0.90),
    "colours_obeyed": Bar("colours obeyed, share of the pairs", 0.80),
    "seconds_per_picture": Bar("seconds a picture, batch 32, two CPU threads", 0.35, True),
    "megabytes": Bar("weights of all models, MB", 25, True),
}


def load_scorer(folder: Path = recipe.SCORER) -> Scorer:
    """A shipped CLIP, loaded with plain open_clip."""
    name = f"local-dir:{folder}"
    model, _, preprocess = open_clip.create_model_and_transforms(name)
    tokenizer = open_clip.get_tokenizer(name)
    return Scorer(model.eval(), preprocess, tokenizer, torch.device("cpu"), name, "its own")


def classify(scorer: Scorer, images: Sequence[Image.Image], names: Sequence[str]) -> list[str]:
    """The name whose "a photo of a NAME" is nearest, for each picture."""
    texts = embed_texts(scorer, [fill_template("a photo of a {}", name) for name in names])
    return [names[i] for i in (embed_images(scorer, images) @ texts.T).argmax(1).tolist()]


def measure_quality(params: Params, contact_sheet: Path) -> dict[str, float]:
    """Measure everything in `BARS`; the prompts are those of params.yaml."""
    torch.set_num_threads(2)
    scorer, pipeline = load_scorer(), load_pipeline()
    results = {"vae_psnr_db": measure_psnr(pipeline)}
    results |= measure_scorer("scorer", scorer)
    results |= measure_scorer("guide", load_scorer(recipe.GUIDE))
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
    results["megabytes"] = measure_megabytes()
    draw_contact_sheet(pipeline, contact_sheet)
    return {name: round(value, 4) for name, value in results.items()}


def load_pipeline() -> StableDiffusionPipeline:
    """The shipped generator, loaded with plain diffusers."""
    pipeline = StableDiffusionPipeline.from_pretrained(
        recipe.GENERATOR, local_files_only=True, use_safetensors=True
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def measure_psnr(pipeline: StableDiffusionPipeline) -> float:
    """PSNR in dB of reconstructed held-out illustrations, mean over pictures."""
    vae, errors = pipeline.vae, []
    for batch in to_pixel_values(_draw_held_out("illustration", 16).images).split(64):
        decoded = decode_latents(vae, encode_posterior(vae, batch)[0] * vae.config.scaling_factor)
        errors.append((decoded - (batch + 1) / 2).square().mean((1, 2, 3)))
    return float((-10 * torch.cat(errors).log10()).mean())


def measure_scorer(name: str, scorer: Scorer) -> dict[str, float]:
    """Zero-shot accuracy on both looks, and how far matching pairs stand above others.

    Args:
        name: scorer or guide, which the results begin with.
        scorer: The model.
    """
    results, gaps = {}, []
    for look, names in NAMES.items():
        drawings = _draw_held_out(look, NUM_HELD_OUT)
        images = [Image.fromarray(image) for image in drawings.images]
        found = np.array(classify(scorer, images, names))
        results[f"{name}_accuracy_{look}"] = float((found == np.array(drawings.things)).mean())
        cosines = embed_images(scorer, images) @ embed_texts(scorer, drawings.captions).T
        others = (cosines.sum() - cosines.trace()) / (cosines.numel() - len(cosines))
        gaps.append(float(cosines.diagonal().mean() - others))
    return results | {f"{name}_cosine_gap": min(gaps)}


def measure_megabytes() -> float:
    """The weights' size on the disk."""
    folders = (recipe.GENERATOR, recipe.SCORER, recipe.GUIDE)
    files = [file for folder in folders for file in folder.rglob("*.safetensors")]
    return sum(file.stat().st_size for file in files) / 1e6


def measure_accuracy(
    scorer: Scorer,
    pipeline: StableDiffusionPipeline,
    prompts: Sequence[tuple[str, str]],
    count: int,
) -> float:
    """Zero-shot accuracy over sixteen things, of `count` pictures for each (thing, prompt)."""
    jobs = [(thing, prompt) for thing, prompt in prompts for _ in range(count)]
    images = generate(pipeline, [prompt for _, prompt in jobs])
    found = classify(scorer, images, list(THINGS))
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
    images = embed_images(scorer, generate(pipeline, prompts))
    wins = []
    for image, (name, colour) in zip(images, jobs, strict=True):
        others = sorted(set(THINGS[name].colours) - {colour})
        texts = [fill_template("a {}", f"{c} {name}") for c in (colour, *others)]
        cosines = embed_texts(scorer, texts) @ image
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
        ).images
    return images


def draw_contact_sheet(pipeline: StableDiffusionPipeline, path: Path, columns: int = 8) -> None:
    """Write a sheet of generated pictures: a row a thing, `columns` pictures each, enlarged."""
    prompts = [fill_template("a photo of a {}", name) for name in THINGS for _ in range(columns)]
    image = make_image_grid(generate(pipeline, prompts), rows=len(THINGS), cols=columns)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.resize((image.width * 3 // 2, image.height * 3 // 2), Image.Resampling.LANCZOS).save(path)


def write_results(results: dict[str, float]) -> None:
    """Write what was measured beside the weights, and into the card's table."""
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    text = CARD.read_text(encoding="utf-8")
    CARD.write_text(TABLE.sub(lambda m: m[1] + render_table() + m[2], text), encoding="utf-8")


def render_table() -> str:
    """The measured results as a Markdown table, in the order of the bars."""
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    rows = ["| what | bar | measured |", "| --- | --- | --- |"]
    for name, bar in BARS.items():
        sign = "≤" if bar.is_ceiling else "≥"
        rows.append(f"| {bar.meaning} | {sign} {bar.value:g} | {results[name]:.3g} |")
    return "\n".join(rows) + "\n"


def _draw_held_out(look: Look, count: int) -> Drawings:
    first = recipe.FIRST_HELD_OUT_SEED
    return draw_many([(look, name, first + i) for name in NAMES[look] for i in range(count)])
