"""Every artefact path, spelled as in dvc.yaml and relative to the project's root."""

from pathlib import Path

VARIANTS = ("baseline", "finetuned")

CHECKED = Path("data/checked.txt")
PREFLIGHT = Path("data/preflight.txt")

PAIRS = Path("data/pairs.parquet")
PROMPTS = Path("data/prompts.csv")
PAIRS_SHEET = Path("plots/pairs.png")

INSTANCE = Path("data/instance.parquet")
INSTANCE_WORDS = Path("data/instance.json")
INSTANCE_PROMPTS = Path("data/instance_prompts.csv")
INSTANCE_SAMPLES = Path("data/instance_samples")
RESEMBLANCE = Path("data/instance_samples/scores.csv")
INSTANCE_METRICS = Path("metrics/instance.json")

LATENTS = Path("data/latents.safetensors")
PROMPT_EMBEDS = Path("data/prompt_embeds.safetensors")

FINETUNED = Path("models/finetuned")
EXPORTED = Path("models/exported")
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
COMPARISON_BY_METRIC = Path("plots/by_metric.csv")
METRIC_CORRELATIONS = Path("plots/metric_correlations.csv")
DISAGREEMENTS = Path("plots/disagreements.csv")
FORGETTING = Path("plots/forgetting.csv")
POOLED = Path("plots/pooled.csv")
METHODS = Path("plots/methods.csv")
METHODS_CHART = Path("plots/methods.html")
CLASS_CLIP = Path("plots/class_clip.csv")
CLASS_GAIN = Path("plots/class_gain.csv")

PLOTS = Path("plots")
REPORT = Path("plots/report.html")
GRIDS = Path("plots/grids")

SCRATCH = Path("scratch")
