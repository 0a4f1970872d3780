"""Make the captioned pairs to train on and the prompts to sample.

Reads what `preflight` chose, data/chosen.csv and data/subject.json, and the source. Writes
data/pairs.parquet, data/prompts.csv and plots/pairs.png, a sheet to look at. Every later stage sees
pictures and captions as they are here. Where pictures of both sides were handed in, they go to
data/handed_in/, the prompts are theirs, and there are no pairs; otherwise that folder has none.
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
from PIL import Image
from tqdm import tqdm

from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.files.images import (
    decode_image,
    draw_sheet,
    encode_png,
    resize_to_square,
    write_png,
)
from stages.files.pictures import LazyColumn, read_rows, write_pictures
from stages.files.tables import PAIRS_SCHEMA, SAMPLES_SCHEMA, read_csv, write_table
from stages.files.taught import read_taught
from stages.run.entry import run_stage
from stages.run.scratch import use_folder
from stages.sources.copies import hash_pixels
from stages.sources.handed_in import open_handed_in
from stages.sources.intake import CHOSEN_SCHEMA, build_all_prompts, open_all
from stages.sources.source import Source

logger = logging.getLogger(__name__)

SHEET_COLUMNS = 12
SHEET_TILE_PX = 128
AGAIN = "run `dvc repro` again"
NO_SAMPLES = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in SAMPLES_SCHEMA.items()})
MAX_LABEL = 40
"""Characters of a class's name on the sheet, which is as wide as its longest label."""


def main() -> None:
    """Make pairs and prompts as params.yaml says."""
    params = load_params()
    taught = read_taught(paths.SUBJECT)
    pairs = read_csv(paths.CHOSEN, CHOSEN_SCHEMA, "preflight")
    if named := params.pictures.named:
        take_pictures(named, pairs)
        return
    pairs["class"] = pairs["class"].where(pairs["class"] != "")  # a picture may have none
    with load_pictures(pairs, open_all(params, taught), params.chosen.resolution_px) as pictures:
        write_pictures(pairs, pictures, paths.PAIRS, PAIRS_SCHEMA)
    prompts = build_all_prompts(params, taught)
    write_table(prompts, paths.PROMPTS)
    write_png(draw_pairs(paths.PAIRS, params.prepare.classes), paths.PAIRS_SHEET)
    take_no_pictures()
    logger.info("%s, %d prompts", pairs["split"].value_counts().to_dict(), len(prompts))


def take_no_pictures() -> None:
    """Write that none were handed in."""
    for path in paths.HANDED_IN.values():
        write_pictures(NO_SAMPLES, [], path, SAMPLES_SCHEMA)


def take_pictures(named: Mapping[str, Path], chosen: pd.DataFrame) -> None:
    """Write what was handed in, each picture at its size; there are no pairs to train on."""
    handed_in = open_handed_in(named)
    for variant, path in paths.HANDED_IN.items():
        rows = chosen[chosen["split"] == variant].reset_index(drop=True)
        samples = handed_in.samples[variant]
        if rows["source_id"].tolist() != samples["source_id"].tolist():
            raise UserError(f"{named[variant]}: changed after `preflight` looked at it; {AGAIN}")
        with load_pictures(rows, {variant: handed_in.sources[variant]}, None) as pictures:
            write_pictures(samples, pictures, path, SAMPLES_SCHEMA)
    write_pictures(chosen[:0], [], paths.PAIRS, PAIRS_SCHEMA)
    write_table(handed_in.prompts, paths.PROMPTS)
    write_png(draw_handed_in(paths.HANDED_IN), paths.PAIRS_SHEET)


@contextmanager
def load_pictures(
    pairs: pd.DataFrame, sources: Mapping[str, Source], resolution_px: int | None
) -> Iterator[Iterator[bytes]]:
    """Give PNGs of the pictures in the order of the pairs, square and resized, or as they are.

    They are loaded in the order in which sources store them, and wait on the disk: a million don't
    fit in memory.

    Args:
        pairs: Of which `split` and `source_id` say where each picture is; `pixels`, if there is a
            hash of them, what it was.
        sources: By split.
        resolution_px: Of the squares; None leaves a picture as it is.

    Raises:
        UserError: A picture is not there any more, or is another.
    """
    stored = sorted(find_places(pairs, sources))
    seen = pairs["pixels"] if "pixels" in pairs else pd.Series("", pairs.index)
    places = {}
    with use_folder("prepare") as folder, (folder / "pictures").open("w+b") as file:
        for split, index, place in tqdm(stored, desc="pictures", unit=" pictures", mininterval=1):
            image = sources[split].load_image(index)
            if seen[place] and hash_pixels(image) != seen[place]:
                raise UserError(
                    f"{sources[split].show_place(index)}: changed after `preflight` looked at it; "
                    f"{AGAIN}"
                )
            data = encode_png(resize_to_square(image, resolution_px) if resolution_px else image)
            places[place] = (file.tell(), len(data))
            file.write(data)

        def read(place: int) -> bytes:
            offset, size = places[place]
            file.seek(offset)
            return file.read(size)

        yield map(read, range(len(pairs)))


def find_places(
    pairs: pd.DataFrame, sources: Mapping[str, Source]
) -> Iterator[tuple[str, int, int]]:
    """Of each pair its split, the index of its picture in the source, and its own place."""
    for split, rows in pairs.groupby("split", sort=False):
        source = sources[str(split)]
        indices = {entry.source_id: index for index, entry in enumerate(source.entries)}
        for place, source_id in rows["source_id"].items():
            if source_id not in indices:
                raise UserError(
                    f"{source.name}: {source_id} is not there any more; run `dvc repro preflight`"
                )
            yield str(split), indices[source_id], place


def draw_pairs(path: Path, classes: Sequence[str]) -> Image.Image:
    """A row of training pictures for each class, or one row if the pairs have no classes."""
    pairs, images = read_rows(path, PAIRS_SCHEMA, "prepare"), LazyColumn(path)
    train = pairs[pairs["split"] == "train"]
    groups = [(name, train[train["class"] == name]) for name in classes]
    if train["class"].isna().all():
        groups = [("no class", train)]
    rows = [
        (
            name[:MAX_LABEL],
            [decode_image(images[row], name) for row in group.index[:SHEET_COLUMNS]],
        )
        for name, group in groups
    ]
    return draw_sheet(rows, SHEET_TILE_PX)


def draw_handed_in(files: Mapping[str, Path]) -> Image.Image:
    """A row of pictures for each variant, cut to squares."""
    rows = []
    for variant, path in files.items():
        names, images = read_rows(path, SAMPLES_SCHEMA, "prepare")["file_name"], LazyColumn(path)
        some = [decode_image(images[row], name) for row, name in names[:SHEET_COLUMNS].items()]
        rows.append((variant, [resize_to_square(image, SHEET_TILE_PX) for image in some]))
    return draw_sheet(rows, SHEET_TILE_PX)


if __name__ == "__main__":
    run_stage(main)
