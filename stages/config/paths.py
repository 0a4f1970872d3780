"""Every artefact path, spelled as in dvc.yaml and relative to the project's root."""

from pathlib import Path

VARIANTS = ("baseline", "finetuned")

CHECKED = Path("data/checked.txt")

PAIRS = Path("data/pairs.parquet")
PROMPTS = Path("data/prompts.csv")
PAIRS_SHEET = Path("plots/pairs.png")

LATENTS = Path("data/latents.safetensors")
PROMPT_EMBEDS = Path("data/prompt_embeds.safetensors")

FINETUNED = Path("models/finetuned")
FINETUNE_METRICS = Path("metrics/finetune.json")
LOSS = Path("plots/loss.csv")
VALIDATION_LOSS = Path("plots/validation_loss.csv")

REFERENCE = Path("data/reference.safetensors")
SAMPLES = Path("data/samples")
SCORES = Path("data/scores")
METRICS = Path("metrics")

COMPARISON = Path("metrics/comparison.json")
COMPARISON_BY_CLASS = Path("plots/by_class.csv")
COMPARISON_BY_PROMPT = Path("plots/by_prompt.csv")
COMPARISON_BY_SET = Path("plots/by_set.csv")
CLASS_CLIP = Path("plots/class_clip.csv")
CLASS_GAIN = Path("plots/class_gain.csv")

REPORT = Path("plots/report.html")
GRIDS = Path("plots/grids")

SCRATCH = Path("scratch")
