"""Every artefact path, spelled as in dvc.yaml and relative to the project's root."""

from pathlib import Path

VARIANTS = ("baseline", "finetuned")

CHECKED = Path("data/checked.txt")
SUBJECT = Path("data/subject.json")

PAIRS = Path("data/pairs.parquet")
PROMPTS = Path("data/prompts.csv")
PAIRS_SHEET = Path("plots/pairs.png")

LATENTS = Path("data/latents.safetensors")
PROMPT_EMBEDS = Path("data/prompt_embeds.safetensors")

FINETUNED = Path("models/finetuned")
EXPORTED = Path("models/exported")
TRAINING = Path("data/finetune.json")
LOSS = Path("plots/loss.csv")
VALIDATION_LOSS = Path("plots/validation_loss.csv")

IMAGE_EMBEDS = Path("data/image_embeds.safetensors")
SAMPLES = {variant: Path(f"data/samples/{variant}.parquet") for variant in VARIANTS}
SCORES = {variant: Path(f"data/scores/{variant}.csv") for variant in VARIANTS}
FACTS = {variant: Path(f"data/scores/{variant}.json") for variant in VARIANTS}
SAMPLE_EMBEDS = {variant: Path(f"data/scores/{variant}.safetensors") for variant in VARIANTS}

COMPARISON = Path("metrics/comparison.json")
VERDICT = Path("metrics/verdict.json")
COMPARISON_BY_CLASS = Path("plots/by_class.csv")
COMPARISON_BY_PROMPT = Path("plots/by_prompt.csv")
COMPARISON_BY_SET = Path("plots/by_set.csv")
COMPARISON_BY_METRIC = Path("plots/by_metric.csv")
METRIC_CORRELATIONS = Path("plots/metric_correlations.csv")
DISAGREEMENTS = Path("plots/disagreements.csv")
FORGETTING = Path("plots/forgetting.csv")
COLLAPSED = Path("plots/collapsed.csv")
POOLED = Path("plots/pooled.csv")
METHODS_TABLE = Path("plots/methods.csv")
METHODS_CHART = Path("plots/methods.html")
CLASS_CLIP = Path("plots/class_clip.csv")
CLASS_GAIN = Path("plots/class_gain.csv")

PLOTS = Path("plots")
REPORT = Path("plots/report.html")
GRIDS = Path("plots/grids")

TRAINING_COST = Path("data/costs/finetune.json")
SAMPLING_COST = {variant: Path(f"data/costs/sample_{variant}.json") for variant in VARIANTS}
COST = Path("metrics/cost.json")

SCRATCH = Path("scratch")
