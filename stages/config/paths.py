"""Every artefact path, spelled as in dvc.yaml and relative to the project's root."""

from pathlib import Path

VARIANTS = ("baseline", "finetuned")

CHECKED = Path("data/checked.json")
SUBJECT = Path("data/subject.json")
CHOSEN = Path("data/chosen.csv")
LEFT_OUT = Path("data/left_out.csv")

HANDED_IN_FOLDER = Path("data/handed_in")
HANDED_IN = {variant: HANDED_IN_FOLDER / f"{variant}.parquet" for variant in VARIANTS}

PAIRS = Path("data/pairs.parquet")
PROMPTS = Path("data/prompts.csv")
PAIRS_SHEET = Path("plots/pairs.png")

LATENTS = Path("data/latents.safetensors")
PROMPT_EMBEDS = Path("data/prompt_embeds.safetensors")

FINETUNED = Path("models/finetuned")
PICTURES_NAME = "pictures.parquet"
"""In `FINETUNED`, where pictures were handed in."""
EXPORTED = Path("models/exported")
TRAINING = Path("plots/data/finetune.json")
LOSS = Path("plots/data/loss.csv")
VALIDATION_LOSS = Path("plots/data/validation_loss.csv")

IMAGE_EMBEDS = Path("data/image_embeds.safetensors")
SAMPLES = {variant: Path(f"data/samples/{variant}.parquet") for variant in VARIANTS}
SCORES = {variant: Path(f"data/scores/{variant}.csv") for variant in VARIANTS}
FACTS = {variant: Path(f"data/scores/{variant}.json") for variant in VARIANTS}
SAMPLE_EMBEDS = {variant: Path(f"data/scores/{variant}.safetensors") for variant in VARIANTS}

COMPARISON = Path("metrics/comparison.json")
COMPARISON_TABLES = Path("plots/data/comparison")
POOLED = Path("plots/pooled.csv")
PLAN = Path("plots/plan.csv")
DUELS = Path("plots/duel.csv")
DUELS_BY_CLASS = Path("plots/duel_by_class.csv")
DUEL_PAGE = Path("plots/duel.html")
GUIDANCE = Path("plots/guidance.csv")
GUIDANCE_PAGE = Path("plots/guidance.html")

STUDY_PAGE = Path("plots/study.html")
STUDY = Path("data/study")
STUDY_KEY = STUDY / "key.csv"
VOTES = Path("data/votes")
JUDGED_VOTES = Path("plots/votes.csv")
PREFERENCE = Path("metrics/preference.json")
PREFERENCE_TABLES = Path("plots/data/preference")

REPORT = Path("plots/report.html")
SUMMARY = Path("plots/report.md")
GRIDS = Path("plots/grids")

TRAINING_COST = Path("plots/data/cost_finetune.json")
SAMPLING_COST = {variant: Path(f"plots/data/cost_sample_{variant}.json") for variant in VARIANTS}
COST = Path("metrics/cost.json")

SCRATCH = Path("scratch")
