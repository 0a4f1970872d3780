"""A folder with all that the report reads: drawn pictures and made-up numbers.

`python -m tests.report_project FOLDER` writes one, and its report, to look at.
"""

import json
import os
import shutil
import sys
from functools import cache
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter

from stages import report
from stages.analysis.experts import START
from stages.analysis.results import GIVEN
from stages.config.params import load_params
from stages.files.facts import SETS
from stages.files.images import encode_png
from stages.files.pictures import read_parts, write_pictures
from stages.files.tables import PAIRS_SCHEMA, SAMPLES_SCHEMA, SAMPLES_WITH_EXPERTS
from stages.reporting.subject import METRIC as SUBJECT_SIMILARITY
from stages.run.cost import Cost, write_cost
from stages.sources.drawing.pictures import draw_picture
from stages.sources.drawing.red_frog import draw_red_frog_picture

ROOT = Path(__file__).parents[1]
METRICS = {
    "clip_cosine": ("CLIP cosine", "higher", "-1 to 1", 0.63, 0.06),
    "retrieval_rank": ("retrieval rank", "lower", "1 to the number of prompts", 3, 2),
    "training_similarity": ("training similarity", "higher", "-1 to 1", 0.71, 0.05),
    "nearest_training_cosine": ("nearest training cosine", "neither", "-1 to 1", 0.85, 0.05),
    "sharpness": ("sharpness", "neither", "0 and up", 0.013, 0.004),
    "colourfulness": ("colourfulness", "neither", "0 and up", 54.0, 11.0),
    "brightness": ("brightness", "neither", "0 to 1", 0.55, 0.1),
    "contrast": ("contrast", "neither", "0 to 1", 0.22, 0.05),
    "musiq": ("MUSIQ", "higher", "0 to 100", 61.0, 6.0),
    SUBJECT_SIMILARITY: ("similarity to the subject", "higher", "-1 to 1", 0.5, 0.05),
}
"""The last is only there with a subject."""
PER_SET = {
    "zero_shot_accuracy": ("zero-shot accuracy", "higher", "0 to 1", 0.9, 0.04),
    "kid": ("KID", "lower", "0 and up", 0.0421, 0.004),
    "cmmd": ("CMMD", "lower", "0 and up", 1.34, 0.1),
    "diversity": ("diversity", "higher", "0 to 2", 0.31, 0.03),
}
GAIN = {"in_domain": 0.5, "marketing": -0.7, "subject": 2.0}
"""Standard deviations by which fine-tuning moves every metric."""
MAIN = ("clip_cosine", "retrieval_rank", "training_similarity", "musiq")
NUM_TRAINING = 40
FINETUNE = {
    "method": "attn2",
    "num_trainable_parameters": 391968,
    "trainable_fraction": 0.07,
    "num_trainable_tensors": 50,
    "checkpoint_bytes": 1573692,
    "learning_rate": 1e-4,
    "num_steps": 400,
    "loss_first_50": 0.42,
    "loss_last_50": 0.36,
    "validation_loss_before": 0.39,
    "validation_loss_after": 0.365,
    "validation_loss_change": -0.025,
    "num_processes": 1,
}
BLOCKS = "mid_block.attentions.0.transformer_blocks.0"
LAYERS = [f"{BLOCKS}.attn{n}.to_{part}" for n in (1, 2) for part in ("q", "k", "v", "out.0")] + [
    "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_q",
    "up_blocks.1.attentions.2.transformer_blocks.0.attn2.to_k",
]
STARTS, TELLING = [f"{layer}{START}" for layer in LAYERS], LAYERS[-1]
MOSTLY_FIRST = np.array([0.5, 0.25, 0.25], dtype="f4")
SUBJECT_PROMPTS = ("a photo of a frog", "a frog in a room")
NUM_SUBJECT, NUM_TAUGHT = 3, 2
"""Pictures of each of its prompts, and pictures that it was taught from."""
SUBJECT_FOUND = {
    "baseline": 0.5,
    "finetuned": 0.8125,
    "difference": 0.3125,
    "ci_low": 0.25,
    "ci_high": 0.375,
    "p_value": 0.0078,
}
SIMILARITY_OF_PICTURES = 0.9375
COSTS = {
    "finetune": Cost(54.3, 0.31, True, 1061.5),
    "sample_baseline": Cost(61.2, 0.4, True, 980.0),
    "sample_finetuned": Cost(60.8, 0.39, True, 981.0),
}


def write_results(
    folder: Path,
    num_in_domain: int = 1,
    num_marketing: int = 2,
    side_px: int = 64,
    prompts: pd.DataFrame | None = None,
    num_bad: int = 0,
    has_subject: bool = False,
) -> None:
    """Write params.yaml and every file that `stages.report` reads into an empty folder.

    Args:
        folder: Where to.
        num_in_domain: Pictures of an in-domain prompt.
        num_marketing: Pictures of a marketing prompt.
        side_px: Their side.
        prompts: prompt_id, set, class, prompt; None for those of params.yaml.
        num_bad: So many fine-tuned pictures are black, the next one a duplicate.
        has_subject: The method taught a subject.
    """
    rng = np.random.default_rng(0)
    shutil.copy(ROOT / "params.yaml", folder / "params.yaml")
    prompts = list_prompts() if prompts is None else prompts
    if has_subject:
        prompts = pd.concat([prompts, list_subject_prompts()], ignore_index=True)
    counts = {"in_domain": num_in_domain, "marketing": num_marketing, "subject": NUM_SUBJECT}
    counts = prompts["set"].map(counts)
    rows = prompts.loc[prompts.index.repeat(counts)].reset_index(drop=True)
    rows["index"] = rows.groupby("prompt_id").cumcount()
    rows["file_name"] = [f"{r.prompt_id}_{r.index:03d}.png" for r in rows.itertuples(index=False)]
    write_pairs(folder, NUM_TAUGHT if has_subject else 0)
    baseline = score(rows, rng)
    if not has_subject:
        baseline = baseline.drop(columns=SUBJECT_SIMILARITY)
    finetuned = improve(baseline, rng, num_bad)
    for variant, scores in (("baseline", baseline), ("finetuned", finetuned)):
        write_variant(folder, variant, scores, side_px)
    write_left_out(folder)
    write_training(folder, rng)
    write_comparison(folder / "plots/data/comparison", baseline, finetuned, rng)
    write_verdict(folder, baseline, finetuned)
    write_json({}, folder / "plots/data/preference/found.json")


def write_report(folder: Path) -> str:
    """Run the stage in the folder; the page."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        report.main()
    finally:
        os.chdir(before)
    return (folder / "plots/report.html").read_text(encoding="utf-8")


def list_prompts() -> pd.DataFrame:
    """The prompts of the shipped params.yaml."""
    params = load_params()
    rows = [
        ("in_domain", name, template.format(name))
        for name in params.prepare.classes
        for template in params.prompts.class_templates
    ] + [("marketing", row.class_name, row.prompt) for row in params.prompts.marketing]
    table = pd.DataFrame(rows, columns=["set", "class", "prompt"])
    return table.assign(prompt_id=[f"p{number:02d}" for number in range(len(table))])


def list_subject_prompts() -> pd.DataFrame:
    """Two prompts for the subject, as the baseline is asked for it."""
    table = pd.DataFrame({"prompt": SUBJECT_PROMPTS}).assign(**{"set": "subject", "class": "frog"})
    return table.assign(prompt_id=[f"subject-{number}" for number in table.index])


def list_measured(scores: pd.DataFrame) -> list[str]:
    """The metrics of which there are scores."""
    return [name for name in METRICS if name in scores]


def direct(metric: str, set_name: str) -> str:
    """Which way is better; of the similarity to the subject, neither on other prompts."""
    if metric == SUBJECT_SIMILARITY and set_name != "subject":
        return "neither"
    return (METRICS | PER_SET)[metric][1]


def score(rows: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Scores of the baseline, normal around each metric's mean."""
    drawn = {name: rng.normal(mean, sd, len(rows)) for name, (*_, mean, sd) in METRICS.items()}
    drawn["retrieval_rank"] = np.maximum(1, drawn["retrieval_rank"].round()).astype(int)
    return rows.assign(
        **drawn,
        nearest_training_id=[f"drawn/{n}" for n in rng.integers(0, NUM_TRAINING, len(rows))],
        predicted_class=rows["class"],
        is_correct=rng.random(len(rows)) < 0.9,
        is_black=False,
        is_flat=False,
        is_finite=True,
        is_duplicate=False,
    )


def improve(baseline: pd.DataFrame, rng: np.random.Generator, num_bad: int) -> pd.DataFrame:
    """The fine-tuned scores: moved by `GAIN`, the first pictures black."""
    gain = baseline["set"].map(GAIN)
    moved = {
        name: baseline[name]
        + (-1 if better == "lower" else 1) * gain * sd
        + rng.normal(0, sd / 2, len(baseline))
        for name, (_, better, _, _, sd) in METRICS.items()
        if name in baseline
    }
    moved["retrieval_rank"] = np.maximum(1, moved["retrieval_rank"].round()).astype(int)
    moved["nearest_training_cosine"] = moved["nearest_training_cosine"].clip(upper=0.999)
    number = np.arange(len(baseline))
    return baseline.assign(
        **moved, is_black=number < num_bad, is_duplicate=number == num_bad
    ).assign(is_duplicate=lambda table: table["is_duplicate"] & (num_bad > 0))


def write_variant(folder: Path, variant: str, scores: pd.DataFrame, side_px: int) -> None:
    """Pictures, scores and the facts of their metrics."""
    images = []
    for number, row in enumerate(scores.to_dict("records")):
        image = draw(row["class"], number, side_px)
        if variant == "finetuned" and row["set"] == "subject":
            image = draw_red_frog_picture(number)
        if variant == "finetuned":
            image = image.filter(ImageFilter.GaussianBlur(side_px / 80))
        if row["is_black"]:
            image = Image.new("RGB", image.size)
        images.append(encode_png(image))
    sampled = {"steps": 30, "guidance": 7.5, "scheduler": "ddim", "model": "models/tiny"}
    samples = scores.assign(seed=scores.index, **sampled)
    write_pictures(samples, images, folder / f"data/samples/{variant}.parquet", SAMPLES_SCHEMA)
    (folder / "data/scores").mkdir(exist_ok=True)
    scores.to_csv(folder / f"data/scores/{variant}.csv", index=False)
    facts = {
        name: {
            "label": label,
            "column": "" if name in PER_SET else name,
            "unit": "set" if name in PER_SET else "picture",
            "direction": {set_name: direct(name, set_name) for set_name in SETS},
            "scale": scale,
            "model": "models/tiny-scorer",
            "weights": "models/tiny-scorer/open_clip_model.safetensors",
            "preprocessing": "64 px, bicubic, antialiased",
            "source": "Somebody et al. 2021, eq. 3",
        }
        for name, (label, _, scale, *_) in (METRICS | PER_SET).items()
        if name in PER_SET or name in scores
    }
    write_json(facts, folder / f"data/scores/{variant}.json")


def add_experts(folder: Path) -> None:
    """As of hydra_lora: let each class have most of one of three experts, in a layer alone."""
    path = folder / "data/samples/finetuned.parquet"
    rows = pd.concat(read_parts(path, SAMPLES_SCHEMA, "sample", 1000))
    classes = list(dict.fromkeys(rows["class"]))
    even = np.full(3, 1 / 3, dtype="f4")
    of = [np.roll(MOSTLY_FIRST, classes.index(name) % 3) for name in rows["class"]]
    experts = [
        {name: weights if name == TELLING else even for name in (*LAYERS, *STARTS)}
        for weights in of
    ]
    write_pictures(rows.assign(experts=experts), rows["image"], path, SAMPLES_WITH_EXPERTS)


@cache
def draw(name: str, seed: int, side_px: int) -> Image.Image:
    """A drawing of a thing; of a cat, where it can't be drawn."""
    try:
        image = draw_picture("illustration", name, seed % 60).image
    except ValueError:
        image = draw_picture("illustration", "cat", seed % 60).image
    noise = Image.effect_noise((side_px, side_px), 12).convert("RGB")
    return Image.blend(image.resize((side_px, side_px), Image.Resampling.BICUBIC), noise, 0.1)


def write_pairs(folder: Path, num_taught: int) -> None:
    """Training pairs as encoded pictures, and so many of the subject: of a red frog."""
    names = load_params().prepare.classes
    rows, images = [], []
    for number in range(NUM_TRAINING):
        name = names[number % len(names)]
        images.append(encode_png(draw_picture("photo", name, number).image))
        rows.append((f"a photo of a {name}", name, "train", f"drawn/{number}"))
    for number in range(num_taught):
        images.append(encode_png(draw_red_frog_picture(number)))
        rows.append(("a <my-frog>", "<my-frog>", "subject", f"drawn/red frog/{number}"))
    pairs = pd.DataFrame(rows, columns=["caption", "class", "split", "source_id"])
    write_pictures(pairs, images, folder / "data/pairs.parquet", PAIRS_SCHEMA)


def write_left_out(folder: Path) -> None:
    """What sources did not take."""
    row = {"source": "pairs", "item": "._x.png", "reason": "hidden"}
    pd.DataFrame([row]).to_csv(folder / "data/left_out.csv", index=False)


def write_training(folder: Path, rng: np.random.Generator) -> None:
    """Loss curves and what training cost."""
    (folder / "plots/data/comparison").mkdir(parents=True)
    steps = np.arange(1, 401)
    loss = 0.4 * np.exp(-steps / 900) + rng.gamma(2, 0.05, len(steps))
    table = pd.DataFrame({"step": steps, "loss": loss})
    table.to_csv(folder / "plots/data/loss.csv", index=False)
    validation = {
        "step": [0, 100, 200, 300, 400],
        "validation_loss": [0.39, 0.38, 0.37, 0.366, 0.365],
    }
    pd.DataFrame(validation).to_csv(folder / "plots/data/validation_loss.csv", index=False)
    write_json(FINETUNE, folder / "plots/data/finetune.json")
    for name, cost in COSTS.items():
        write_cost(cost, folder / f"plots/data/cost_{name}.json")


def write_comparison(
    folder: Path, baseline: pd.DataFrame, finetuned: pd.DataFrame, rng: np.random.Generator
) -> None:
    """The tables of `compare`, with normal intervals."""
    both, metrics = baseline.assign(number=1), list_measured(baseline)
    for name in metrics:
        both[f"{name}_finetuned"] = finetuned[name]
    means = both.groupby("prompt_id", sort=False).agg(
        **{name: (name, "first") for name in ("set", "class", "prompt")},
        num_images=("number", "sum"),
        **{name: (name, "mean") for m in metrics for name in (m, f"{m}_finetuned")},
    )
    means = means.reset_index()
    clip = [describe(means, "clip_cosine", i) for i in means.index.to_numpy()[:, None]]
    prompt_columns = ["prompt_id", "set", "class", "prompt", "num_images"]
    by_prompt = pd.concat([means[prompt_columns], pd.DataFrame(clip)], axis=1)
    by_prompt = by_prompt.drop(columns=["num_prompts", "p_value"])
    by_prompt = by_prompt.assign(p_value=0.04, p_value_holm=0.5, verdict="too little data to say")
    by_prompt["ci_low"], by_prompt["ci_high"] = (
        by_prompt["difference"] - 0.02,
        by_prompt["difference"] + 0.02,
    )
    by_set = pd.DataFrame(
        {"set": n, **describe(means, "clip_cosine", g.index), "verdict": v}
        for (n, g), v in zip(means.groupby("set", sort=False), ("better", "worse"), strict=False)
        if n != "subject"
    )
    classes = means[means["set"] == "in_domain"].groupby("class", sort=False)
    by_class = pd.DataFrame(
        {"class": n, **describe(means, "clip_cosine", g.index)} for n, g in classes
    )
    by_class["p_value_holm"] = (by_class.get("p_value", 1) * len(by_class)).clip(upper=1)
    by_class["verdict"] = "too little data to say"
    given = {"ci_low": -0.03, "ci_high": 0.03, "p_value": 0.4, "p_value_holm": 1.0}
    given["verdict"] = ["worse", *["too little data to say"] * (len(by_class) - 1)]
    by_class = by_class.assign(**{f"{GIVEN}{name}": value for name, value in given.items()})
    by_metric = pd.DataFrame(list_metrics(means))
    tables = {
        "by_set": by_set,
        "papers_prompts": by_set.assign(num_prompts=2),
        "by_class": by_class,
        "by_prompt": by_prompt,
        "by_metric": by_metric,
        "metric_correlations": correlate(means, rng),
        "disagreements": disagree(baseline, finetuned),
        "forgetting": weigh(by_metric),
        "collapsed": list_collapsed(finetuned),
    }
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False)


def describe(means: pd.DataFrame, metric: str, rows: np.ndarray) -> dict[str, float]:
    """A row of any table for one metric."""
    group = means.loc[rows]
    differences = group[f"{metric}_finetuned"] - group[metric]
    spread = differences.std() if len(group) > 1 else 0.02
    error = 1.96 * spread / np.sqrt(len(group))
    mean = differences.mean()
    return {
        "num_prompts": len(group),
        **({"num_images": group["num_images"].sum()} if len(group) > 1 else {}),
        "baseline": group[metric].mean(),
        "finetuned": group[f"{metric}_finetuned"].mean(),
        "difference": mean,
        "ci_low": mean - error,
        "ci_high": mean + error,
        "zero_shot_accuracy_baseline": 0.9,
        "zero_shot_accuracy_finetuned": 0.95,
        "p_value": float(np.exp(-2 * abs(mean) / error)),
        "smallest_p_value": 2 / 2 ** min(12, len(group)),
        "effect_size": mean / spread if spread else np.nan,
        "difference_sd": spread,
        "smallest_detectable_difference": 2.8 * spread / np.sqrt(len(group)),
        "p_value_holm": 0.5,
        "sd_prompts": spread,
        "sd_pictures": spread,
        "more_prompts": 60,
    }


def list_metrics(means: pd.DataFrame) -> list[dict]:
    """Rows of by_metric.csv."""
    rows = []
    for name, group in means.groupby("set", sort=False):
        for metric in list_measured(means):
            row = {"set": name, "metric": metric, "direction": direct(metric, name)}
            row |= describe(means, metric, group.index)
            is_found = (name, metric) == ("subject", SUBJECT_SIMILARITY)
            rows.append(row | SUBJECT_FOUND if is_found else row)
        for metric, (_, better, _, mean, sd) in PER_SET.items():
            if name == "in_domain" or metric in ("diversity", "zero_shot_accuracy"):
                whole = metric in ("kid", "cmmd")
                rows.append(
                    rows[-1]
                    | {
                        "metric": metric,
                        "direction": better,
                        "baseline": mean,
                        "finetuned": mean - sd,
                    }
                    | {"difference": -sd, "ci_low": -2 * sd, "ci_high": -sd / 9}
                    | ({"p_value": np.nan} if whole else {"p_value": 0.01})
                    | {"effect_size": np.nan if whole else -0.4, "difference_sd": 2.5 * sd}
                )
    return rows


def list_collapsed(finetuned: pd.DataFrame) -> pd.DataFrame:
    """Rows of collapsed.csv."""
    bad = finetuned[finetuned["is_black"] | finetuned["is_duplicate"]]
    columns = ["file_name", "prompt_id", "set", "class", "prompt", "index", "reason"]
    return bad.assign(reason=np.where(bad["is_black"], "black", "duplicated"))[columns]


def write_verdict(folder: Path, baseline: pd.DataFrame, finetuned: pd.DataFrame) -> None:
    """What `compare` says in words, and what it counted."""
    counts = {
        variant: {
            "num_images": len(scores),
            "num_black": int(scores["is_black"].sum()),
            "num_flat": 0,
            "num_non_finite": 0,
            "num_duplicates": int(scores["is_duplicate"].sum()),
        }
        for variant, scores in (("baseline", baseline), ("finetuned", finetuned))
    }
    num_black = counts["finetuned"]["num_black"]
    verdict = {
        "headline": "Better on in-domain prompts, worse on marketing prompts",
        "sentence": "On 50 in-domain prompts the fine-tuned model is better (95 % interval).",
        "warning": f"Collapse: {num_black} black." if num_black else "",
        "is_paired": True,
        "counts": counts,
        "subject_similarity_of_pictures": SIMILARITY_OF_PICTURES
        if SUBJECT_SIMILARITY in baseline
        else None,
    }
    write_json(verdict, folder / "plots/data/comparison/verdict.json")


def correlate(means: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    """Rows of metric_correlations.csv."""
    return pd.DataFrame(
        {
            "set": n,
            "metric_a": a,
            "metric_b": b,
            "spearman": rng.uniform(-1, 1),
            "num_prompts": len(g),
        }
        for n, g in means.groupby("set", sort=False)
        for a, b in combinations([*list_measured(means), "zero_shot_accuracy"], 2)
    )


def disagree(baseline: pd.DataFrame, finetuned: pd.DataFrame) -> pd.DataFrame:
    """Rows of disagreements.csv."""
    description = baseline[["file_name", "prompt_id", "set", "class", "prompt", "index"]]
    tables = []
    for metric in MAIN[1:]:
        a, b = (finetuned[m] - baseline[m] for m in ("clip_cosine", metric))
        table = description.assign(
            metric_a="clip_cosine",
            metric_b=metric,
            difference_a=a,
            difference_b=b,
            rank_gap=(a.rank(pct=True) - b.rank(pct=True)).abs(),
        )
        tables.append(table.nlargest(5, "rank_gap"))
    return pd.concat(tables)


def weigh(by_metric: pd.DataFrame) -> pd.DataFrame:
    """Rows of forgetting.csv."""
    rows = []
    for metric, group in by_metric.groupby("metric", sort=False):
        sets = group.set_index("set")
        if metric in MAIN and {"in_domain", "marketing"} <= set(sets.index):
            sign = -1 if METRICS[metric][1] == "lower" else 1
            columns = ["difference", *(["ci_low", "ci_high"][::sign])]
            gain, change = (
                dict(
                    zip(
                        ("difference", "ci_low", "ci_high"),
                        sign * sets.loc[n, columns],
                        strict=True,
                    )
                )
                for n in ("in_domain", "marketing")
            )
            rows.append(
                {
                    "metric": metric,
                    "gain_in_domain": gain["difference"],
                    "gain_ci_low": gain["ci_low"],
                    "gain_ci_high": gain["ci_high"],
                    "change_out_of_domain": change["difference"],
                    "change_ci_low": change["ci_low"],
                    "change_ci_high": change["ci_high"],
                    "trade_off": change["difference"] / gain["difference"],
                    "trade_off_ci_low": -1.5,
                    "trade_off_ci_high": 0.4,
                }
            )
    return pd.DataFrame(rows)


def write_json(values: dict, path: Path) -> None:
    """Write JSON, its folder too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values, indent=2))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.mkdir(parents=True)
    write_results(
        target,
        num_in_domain=6,
        num_marketing=30,
        num_bad=int("--bad" in sys.argv) * 7,
        has_subject="--subject" in sys.argv,
    )
    write_report(target)
