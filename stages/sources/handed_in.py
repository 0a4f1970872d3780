"""Pictures of both sides that another program made: they are paired, or independent of one another.

Where both tables name a pair or a seed, pictures of a prompt are paired by it, and every one needs
its partner. Where not, each side's pictures of a prompt are a sample of their own.
"""

import logging
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pandas as pd
from tqdm import tqdm

from stages.config.mistakes import UserError, enumerate_keys, show
from stages.config.notation import format_count
from stages.files.tables import INDEPENDENT, PAIRED_BY, PROMPTS_SCHEMA, UNKNOWN
from stages.sources.copies import hash_pixels
from stages.sources.intake import CHOSEN_SCHEMA, Intake
from stages.sources.notes import Note, summarise
from stages.sources.prompts import check_distinct
from stages.sources.side import NUM_SHOWN, Side, open_side, raise_first
from stages.sources.source import Source

logger = logging.getLogger(__name__)

KEYS = ("pair", "seed")
"""Columns that say which pictures belong together; the first that both sides have does."""


class HandedIn(NamedTuple):
    """What was handed in.

    Attributes:
        samples: By variant a row a picture, prompts in the baseline's order: source_id and the
            columns of `SAMPLES_SCHEMA`.
        sources: By variant, of the pictures; entries are in an order of their own.
        prompts: Columns of `PROMPTS_SCHEMA`, and `PAIRED_BY`.
    """

    samples: dict[str, pd.DataFrame]
    sources: dict[str, Source]
    prompts: pd.DataFrame


def open_handed_in(named: Mapping[str, Path]) -> HandedIn:
    """List both sides' pictures, and pair them.

    Args:
        named: The folder or parquet of each variant.

    Raises:
        UserError: As `open_side`, of both sides.
        UserError: A prompt is on one side only or not of the same class, or a pair is not whole.
    """
    sides, problems = {}, []
    for variant, path in named.items():
        try:
            sides[variant] = open_side(path, f"pictures.{variant}")
        except UserError as error:
            problems.append(str(error))
    if problems:
        raise UserError("\n".join(problems))
    prompts = _join_prompts(*sides.values())
    key = next((k for k in KEYS if all(k in side.rows for side in sides.values())), "")
    baseline, finetuned = sides.values()
    if key:
        _check_pairs(baseline, finetuned, key)
    numbered = _number(baseline.rows, finetuned.rows, key)
    order = {prompt_id: place for place, prompt_id in enumerate(prompts["prompt_id"])}
    samples = {
        variant: rows.assign(
            file_name=[f"{r.prompt_id}_{r.index:03d}.png" for r in rows.itertuples(index=False)],
            seed=rows[key] if key == "seed" else 0,
            steps=0,
            guidance=float("nan"),
            scheduler=UNKNOWN,
            model=str(named[variant]),
            is_finite=True,
            place=rows["prompt_id"].map(order),
        ).sort_values(["place", "index"], ignore_index=True)
        for (variant, _), rows in zip(sides.items(), numbered, strict=True)
    }
    sources = {variant: side.source for variant, side in sides.items()}
    return HandedIn(samples, sources, prompts.assign(**{PAIRED_BY: key or INDEPENDENT}))


def take_in_pictures(named: Mapping[str, Path]) -> Intake:
    """Look at every picture of both sides, and log a line for each.

    Raises:
        UserError: As `open_handed_in`, or pictures don't open: the first of them.
    """
    handed_in = open_handed_in(named)
    tables, sizes = {}, {}
    for variant, samples in handed_in.samples.items():
        source = handed_in.sources[variant]
        pixels, sizes[variant] = _look_at_all(source)
        table = samples.rename(columns={"prompt": "caption"})
        table = table.assign(split=variant, pixels=table["source_id"].map(pixels))
        tables[variant] = table[[*CHOSEN_SCHEMA, "set", "index", "seed"]]
    paired_by = handed_in.prompts[PAIRED_BY].iloc[0]
    _note_oddities(handed_in, tables, sizes)
    for variant, table in tables.items():
        source = handed_in.sources[variant]
        count, size = format_count(len(table), "picture"), enumerate_keys(sizes[variant])
        told = (variant, source.name, count, size, summarise(source.notes))
        logger.info("%s: %s, %s of %s px%s", *told)
    what = f"paired by {paired_by}" if paired_by != INDEPENDENT else "not paired: independent"
    logger.info(
        "prompts: %s; pictures are %s", format_count(len(handed_in.prompts), "prompt"), what
    )
    notes = {variant: source.notes for variant, source in handed_in.sources.items()}
    # What pairs them is in the table, too: `prepare` runs again when it changes.
    chosen = pd.concat(tables.values(), ignore_index=True).assign(**{PAIRED_BY: paired_by})
    return Intake(chosen, handed_in.prompts, notes)


def _join_prompts(*sides: Side) -> pd.DataFrame:
    """The prompts, which both sides have, in the baseline's order."""
    columns = ["prompt_id", "set", "class", "prompt"]
    tables = {side.key: side.rows[columns].drop_duplicates() for side in sides}
    for key, table in tables.items():
        several = table[table["prompt"].duplicated()]
        if len(several):
            named = _name_prompts(several)
            raise UserError(f"{key}: {named}: found several sets or classes; write one a prompt")
        check_distinct(table.assign(where=key))
    baseline, finetuned = tables
    problems = []
    for key, other in ((baseline, finetuned), (finetuned, baseline)):
        alone = tables[key][~tables[key]["prompt_id"].isin(tables[other]["prompt_id"])]
        if len(alone):
            what = format_count(len(alone), "prompt")
            problems.append(f"{key}: {what} that {other} does not have: {_name_prompts(alone)}")
    if problems:
        raise UserError("\n".join(problems) + "; both sides need pictures of the same prompts")
    both = tables[baseline].merge(tables[finetuned], on="prompt_id", suffixes=("", "_other"))
    differ = both[(both["set"] != both["set_other"]) | (both["class"] != both["class_other"])]
    if len(differ):
        named = _name_prompts(differ)
        raise UserError(f"{finetuned}: {named}: another set or class than in {baseline}; mend one")
    prompts = both.assign(finetuned_prompt=both["prompt"], protocol="broad")
    return prompts[list(PROMPTS_SCHEMA)]


def _check_pairs(baseline: Side, finetuned: Side, key: str) -> None:
    """Refuse a pair that is there twice, or on one side only."""
    problems = []
    keys = {side.key: side.rows.set_index(["prompt_id", key]) for side in (baseline, finetuned)}
    for name, rows in keys.items():
        doubled = rows[rows.index.duplicated()]
        if len(doubled):
            what = format_count(len(doubled), "picture")
            named = _name_pairs(doubled, key)
            problems.append(f"{name}: {what} with the {key} of another of the prompt: {named}")
    for name, other in zip(keys, reversed(keys), strict=True):
        alone = keys[name][~keys[name].index.isin(keys[other].index)]
        if len(alone):
            what = format_count(len(alone), "picture")
            named = _name_pairs(alone, key)
            problems.append(f"{name}: {what} without a partner in {other}: {named}")
    if problems:
        remedy = f"correct the column {key}, or drop it: then pictures are compared as independent"
        raise UserError("\n".join(problems) + f"; {remedy}")


def _number(
    baseline: pd.DataFrame, finetuned: pd.DataFrame, key: str
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Both with an `index` within the prompt, the same for the pictures of a pair."""
    first, second = (
        rows.assign(index=rows.groupby("prompt_id", sort=False).cumcount())
        for rows in (baseline, finetuned)
    )
    if key:
        numbers = first.set_index(["prompt_id", key])["index"]
        pairs = pd.MultiIndex.from_frame(second[["prompt_id", key]])
        second["index"] = numbers.loc[pairs].to_numpy()
    return first, second


def _look_at_all(source: Source) -> tuple[dict[str, str], list[str]]:
    """The hash of each picture's pixels, by source_id, and the sizes, most frequent first."""
    pixels, sizes = {}, Counter[str]()
    problems = []
    entries = tqdm(source.entries, desc="preflight", unit=" pictures", mininterval=1)
    for number, entry in enumerate(entries):
        try:
            image = source.load_image(number)
        except UserError as error:
            problems.append(str(error))
            continue
        pixels[entry.source_id] = hash_pixels(image)
        sizes[f"{image.width} x {image.height}"] += 1
    raise_first(problems, f"pictures of {source.name} don't open")
    return pixels, [size for size, _ in sizes.most_common(NUM_SHOWN)]


def _note_oddities(
    handed_in: HandedIn, tables: Mapping[str, pd.DataFrame], sizes: Mapping[str, list[str]]
) -> None:
    """Note what makes the two sides hard to compare."""
    baseline, finetuned = tables.values()
    notes = handed_in.sources["finetuned"].notes
    if sizes["baseline"] != sizes["finetuned"]:
        other = sizes["baseline"][0]
        reason = f"the baseline's are of {other} px: sharpness is of the pixels as they are"
        notes.append(Note(f"{sizes['finetuned'][0]} px", reason))
    if handed_in.prompts[PAIRED_BY].iloc[0] == INDEPENDENT:
        same = finetuned[finetuned["pixels"].isin(baseline["pixels"])]["source_id"]
        reason = "the same pixels as a picture of the baseline: so they are not independent"
        notes += [Note(source_id, reason) for source_id in same]


def _name_prompts(rows: pd.DataFrame) -> str:
    shown = enumerate_keys(map(show, rows["prompt"].head(NUM_SHOWN)))
    return shown + (", …" if len(rows) > NUM_SHOWN else "")


def _name_pairs(rows: pd.DataFrame, key: str) -> str:
    some = rows.reset_index().head(NUM_SHOWN)
    named = [f"{show(p)} with {key} {k}" for p, k in zip(some["prompt"], some[key], strict=True)]
    return enumerate_keys(named) + (", …" if len(rows) > NUM_SHOWN else "")
