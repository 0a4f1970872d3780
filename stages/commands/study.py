"""Samples -> plots/study.html, on which people compare them blindly, and data/study/key.csv.

`python -m stages.commands.study [EXPERIMENT ...]`. Without experiments the pictures are those of
the workspace: baseline and fine-tuned. With one it is compared with its baseline, with several they
are compared with one another; `baseline` may be one of them. Their pictures are read from DVC's
cache; nothing is checked out or run.
"""

import logging
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from PIL import Image

from stages.commands.experiments import (
    check_distinct,
    check_same,
    copy_file,
    keep_sampled,
    read_params,
)
from stages.config import paths
from stages.config.mistakes import UserError
from stages.config.params import StudyParams, load_params
from stages.files.atomic import replace_file
from stages.files.images import resize_to_square
from stages.files.pictures import NamedPictures, read_rows
from stages.files.tables import SAMPLES_SCHEMA, UNKNOWN, write_table
from stages.reporting.study import MAX_PAGE_BYTES, PICTURE_BYTES, StudyPage, render_study
from stages.run.entry import run_stage
from stages.study.encoding import Encoded, encode_alike
from stages.study.key import BASELINE, name_study, read_key
from stages.study.pairs import Study, count_pictures, lay_out
from stages.study.votes import HEADER, LEFT, RIGHT, SAME, list_votes

logger = logging.getLogger(__name__)

SHOWN = ["file_name", "prompt_id", "set", "class", "prompt"]
NOISE = ["file_name", "prompt_id", "index", "seed"]
"""Columns of samples that pictures to be compared share."""


def main(*experiments: str) -> None:
    """Write the page and its key."""
    params = load_params().study
    if experiments:
        check_distinct(experiments)
    with tempfile.TemporaryDirectory() as folder:
        samples = collect_samples(experiments, Path(folder))
        rows = check_samples(samples)
        files = {arm: NamedPictures(path, "file_name") for arm, path in samples.items()}
        study = lay_out(rows[SHOWN], files, params.num_pairs, params.seed)
    study = study._replace(images=bring_to_one_size(study.images))
    encoded = encode(study, params)
    check_votes(study.key)
    page = StudyPage(
        study=name_study(study.key),
        early=study.early,
        late=study.late,
        pictures=dict(zip(study.images, encoded.files, strict=True)),
        mime=encoded.mime,
        side_px=max(next(iter(study.images.values())).size),
        questions=params.questions,
        consent=params.consent,
        header=HEADER,
        answers=(LEFT, RIGHT, SAME),
    )
    write_table(study.key, paths.STUDY_KEY)
    text = render_study(page)
    with replace_file(paths.STUDY_PAGE) as partial:
        partial.write_text(text, encoding="utf-8")
    logger.info("study %s: %s", page.study, " against ".join(samples))
    logger.info(
        "%d pairs, and %d to check the raters", params.num_pairs, len(study.key) - params.num_pairs
    )
    logger.info("%s: %.1f MB, to be sent to raters", paths.STUDY_PAGE, len(text.encode()) / 1e6)
    logger.info("%s: commit it, and show it to no rater", paths.STUDY_KEY)


def collect_samples(experiments: tuple[str, ...], folder: Path) -> dict[str, Path]:
    """The pictures of each arm: of the workspace, or copies of what experiments had."""
    named = [name for name in experiments if name != BASELINE]
    if not named:
        if experiments:
            raise UserError(f"{BASELINE}: name an experiment to compare it with")
        return dict(paths.SAMPLES)
    check_same({name: read_params(name) for name in named}, keep_sampled)
    samples = {}
    if len(named) == 1 or BASELINE in experiments:
        samples[BASELINE] = folder / "baseline.parquet"
        copy_file(named[0], paths.SAMPLES["baseline"], samples[BASELINE])
    for number, name in enumerate(named):
        samples[name] = folder / f"{number}.parquet"
        copy_file(name, paths.SAMPLES["finetuned"], samples[name])
    return samples


def check_samples(samples: dict[str, Path]) -> pd.DataFrame:
    """The rows of the pictures, which every arm has from the same noise.

    Of pictures that were handed in, those that have the same number within their prompt.
    Only sets that every arm has: an experiment that was taught a subject has one more.

    Raises:
        UserError: An arm has other pictures.
    """
    tables = {arm: read_rows(path, SAMPLES_SCHEMA, "sample") for arm, path in samples.items()}
    shared = set.intersection(*(set(table["set"]) for table in tables.values()))
    kept = {arm: t[t["set"].isin(shared)].reset_index(drop=True) for arm, t in tables.items()}
    first, *others = kept
    if kept[first]["scheduler"].eq(UNKNOWN).any():  # handed in: pairs may be of any kind, or none
        names = set.intersection(*(set(table["file_name"]) for table in kept.values()))
        return kept[first][kept[first]["file_name"].isin(names)].reset_index(drop=True)
    for arm in others:
        if not kept[arm][NOISE].equals(kept[first][NOISE]):
            raise UserError(
                f"{arm}: its pictures are not of the prompts and noise of {first}; run `dvc repro` "
                "so that both are sampled alike"
            )
    return kept[first]


def bring_to_one_size(images: Mapping[str, Image.Image]) -> Mapping[str, Image.Image]:
    """The pictures as they are, or of several sizes cut to squares of the shortest side."""
    if len({image.size for image in images.values()}) == 1:
        return images
    side_px = min(min(image.size) for image in images.values())
    logger.info("pictures are of several sizes: all are shown as squares of %d px", side_px)
    return {name: resize_to_square(image, side_px) for name, image in images.items()}


def encode(study: Study, params: StudyParams) -> Encoded:
    """The pictures of a study, so that the page is not too large.

    Raises:
        UserError: They do not fit; how many pairs would.
    """
    encoded = encode_alike(list(study.images.values()), PICTURE_BYTES / len(study.images))
    if isinstance(encoded, Encoded):
        return encoded
    fitting = [
        n for n in range(1, params.num_pairs) if count_pictures(n) * encoded <= PICTURE_BYTES
    ]
    width, height = next(iter(study.images.values())).size
    raise UserError(
        f"study.num_pairs: found {params.num_pairs}; a page of so many pairs of {width} x {height} "
        f"px has more than {MAX_PAGE_BYTES / 1e6:.0f} MB; at most {max(fitting, default=0)} fit"
    )


def check_votes(key: pd.DataFrame) -> None:
    """Refuse to lose the key of a study on which there are votes.

    Raises:
        UserError: There are votes, and they are of another study.
    """
    if not paths.STUDY_KEY.exists() or not list_votes(paths.VOTES):
        return
    old, new = read_key(paths.STUDY_KEY)["study"].iloc[0], name_study(key)
    if old != new:
        raise UserError(
            f"{paths.STUDY_KEY} is the key of study {old}, on which there are votes; this would be "
            f"study {new}; commit both, then move {paths.STUDY_KEY} and {paths.VOTES}/*.csv away"
        )


if __name__ == "__main__":
    run_stage(main, *sys.argv[1:])
