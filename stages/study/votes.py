"""What raters answered: CSV files in data/votes, each as the page saved it, checked line by line.

A line is STUDY,RATER,ROW,ROWS,TRIAL,LEFT,QUESTION,ANSWER,SECONDS,CHECK: the ROW-th of ROWS, the
picture that was on the left, and a checksum of this line and all before it. Raters are numbers.
"""

import codecs
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple, get_args

import pandas as pd

from stages.config.mistakes import UserError, show
from stages.config.params import Question

HEADER = "study,rater,row,rows,trial,left,question,answer,seconds,check"
LEFT, RIGHT, SAME = "left", "right", "no difference"
MAX_BYTES = 1_000_000
"""A page of 500 pairs saves 120 kB."""
FNV_OFFSET, FNV_PRIME = 0x811C9DC5, 0x01000193
"""Of the checksum: FNV-1a, 32 bits (Fowler, Noll, Vo), which a page computes in a line."""
_QUESTIONS = "|".join(get_args(Question))
_LINE = re.compile(
    rf"(?P<study>[0-9a-f]{{12}}),(?P<rater>\d{{1,10}}),(?P<row>\d{{1,5}}),(?P<rows>\d{{1,5}}),"
    rf"(?P<trial>[0-9a-f]{{10}}),(?P<left>[0-9a-f]{{10}}),(?P<question>{_QUESTIONS}),"
    rf"(?P<answer>{LEFT}|{RIGHT}|{SAME}),(?P<seconds>\d{{1,7}}\.\d),(?P<check>[0-9a-f]{{8}})",
    re.ASCII,
)
_ANEW = "put the file there again as the page saved it"


class Vote(NamedTuple):
    """An answer to one question about one trial."""

    rater: str
    trial: str
    left: str
    question: str
    answer: str
    seconds: float


VOTE_COLUMNS = [*Vote._fields, "kind", "file_name", "prompt_id", "set", "class"]
VOTE_COLUMNS += ["arm_left", "arm_right", "picked", "pair"]
"""Of `read_votes`."""


def list_votes(folder: Path) -> list[Path]:
    """The files with votes.

    Raises:
        UserError: Another file is there, but README.md or a hidden one: its votes would be lost.
    """
    files = sorted(path for path in folder.glob("[!.]*") if path.is_file())
    files = [path for path in files if path.name != "README.md"]
    if others := [str(path) for path in files if path.suffix.lower() != ".csv"]:
        raise UserError(
            f"{', '.join(others)}: should end in .csv, as pages save votes; rename it, or move it "
            "elsewhere"
        )
    return files


def read_votes(folder: Path, key: pd.DataFrame) -> pd.DataFrame:
    """Read all votes of a folder, and join them with the key of their study.

    Returns:
        A row a vote, `VOTE_COLUMNS`: `picked` is the name of the picture that was preferred, ""
        for none; `pair` is the same for a trial and its repeat.

    Raises:
        UserError: As `list_votes`; or a line for each file that is not as the page saved it, or is
            of another study, or has a vote that is there twice.
    """
    trials = key.set_index("trial")
    votes: list[Vote] = []
    seen: dict[tuple[str, str, str], str] = {}
    mistakes = []
    for path in list_votes(folder):
        try:
            for number, vote in _parse(path, trials.to_dict("index")):
                here = f"{path}, line {number}"
                one = (vote.rater, vote.trial, vote.question)
                if one in seen:
                    raise UserError(
                        f"{here}: rater {vote.rater} gave this answer in {seen[one]}, too; keep "
                        "one of the two"
                    )
                seen[one] = here
                votes.append(vote)
        except UserError as mistake:
            mistakes.append(str(mistake))
    if mistakes:
        raise UserError("\n".join(mistakes))
    return _join(pd.DataFrame(votes, columns=Vote._fields), trials)


def value_votes(votes: pd.DataFrame, arm: str) -> pd.DataFrame:
    """The votes with `value`: 1 for an arm, 0 for another, 1/2 for no difference."""
    picked = votes["arm_left"].where(votes["answer"] == LEFT, votes["arm_right"])
    value = (picked == arm).astype(float).where(votes["answer"] != SAME, 0.5)
    return votes.assign(value=value)


def compute_check(text: str, before: int = FNV_OFFSET) -> int:
    """Go on with a checksum, by the bytes of an ASCII text; 32 bits."""
    for byte in text.encode("ascii"):
        before = (before ^ byte) * FNV_PRIME % 2**32
    return before


def _join(votes: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    found = trials.loc[votes["trial"]].reset_index(drop=True)
    is_a = votes["left"] == found["a"]
    right = found["b"].where(is_a, found["a"])
    picked = votes["left"].where(votes["answer"] == LEFT, right)
    pairs = found[["a", "b"]].apply(lambda row: min(row) + max(row), axis=1, result_type="reduce")
    return votes.assign(
        **{name: found[name] for name in ("kind", "file_name", "prompt_id", "set", "class")},
        arm_left=found["arm_a"].where(is_a, found["arm_b"]),
        arm_right=found["arm_b"].where(is_a, found["arm_a"]),
        picked=picked.where(votes["answer"] != SAME, ""),
        pair=pairs if len(votes) else "",
    )[VOTE_COLUMNS]


def _parse(path: Path, trials: Mapping[str, Mapping[str, str]]) -> Iterator[tuple[int, Vote]]:
    """The votes of a file with the numbers of their lines."""
    header, *lines = _read_lines(path)
    if header != HEADER:
        raise UserError(f"{path}, line 1: found {show(header)}; expected {HEADER}; {_ANEW}")
    first: Mapping[str, str] = {}
    check = FNV_OFFSET
    for number, line in enumerate(lines, start=2):
        here = f"{path}, line {number}"
        match = _LINE.fullmatch(line)
        if match is None:
            raise UserError(f"{here}: found {show(line)}; no line of a vote; {_ANEW}")
        first = first or match.groupdict()
        trial = trials.get(match["trial"], {})
        if not trial or match["study"] != trial["study"]:
            raise UserError(
                f"{here}: is of study {match['study']}, but data/study has the key of "
                f"{next(iter(trials.values()))['study']}; move the file elsewhere"
            )
        check = compute_check(line[: match.start("check")], check)
        if (
            f"{check:08x}" != match["check"]
            or (match["rater"], match["rows"]) != (first["rater"], first["rows"])
            or int(match["row"]) != number - 1
            or match["left"] not in (trial["a"], trial["b"])
        ):
            raise UserError(f"{here}: was edited, or a line before it; {_ANEW}")
        yield (
            number,
            Vote(
                rater=match["rater"],
                trial=match["trial"],
                left=match["left"],
                question=match["question"],
                answer=match["answer"],
                seconds=float(match["seconds"]),
            ),
        )
    if not first or len(lines) != int(first["rows"]):
        raise UserError(
            f"{path}, line {len(lines) + 1}: ends after {len(lines)} of "
            f"{first.get('rows', 'its')} votes; {_ANEW}"
        )


def _read_lines(path: Path) -> list[str]:
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise UserError(f"{path}: has {size:,} bytes; a page saves {MAX_BYTES:,} at most; {_ANEW}")
    data = path.read_bytes()
    if data.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise UserError(
            f"{path}, line 1: starts with the mark of UTF-8 or UTF-16, as a spreadsheet or an "
            f"editor saves it; {_ANEW}"
        )
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        number = data[: error.start].count(b"\n") + 1
        found = f"the byte 0x{data[error.start]:02x}, which no vote has"
        raise UserError(f"{path}, line {number}: has {found}; {_ANEW}") from None
    lines = [line.removesuffix("\r") for line in lines]  # mail may change line ends
    return lines[:-1] if len(lines) > 1 and not lines[-1] else lines
