"""Odd folders and tables: each gives the pictures and captions that a viewer would expect of it, or
one line that names a file and what to do."""

import csv
import io
import json
import tempfile
import warnings
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from stages.config.mistakes import UserError
from stages.config.params import DataParams, is_blank
from stages.sources.opening import open_source

MANY = settings(max_examples=250, deadline=None, derandomize=True, database=None)
CLASSES = ("cat", "dog")
BROKEN = ("text", "empty", "lfs", "half", "1px")
NAMES = st.sampled_from(
    ["a", "b b", "ü", "U\u0308", "猫", "é", "x.y", "-", "#1", "a,b", "%s", "{}"]
)
FOLDERS = st.sampled_from(["", "cat/", "dog/", "3_cat/", "dog/deep/", ".hidden/", "__MACOSX/"])
TEXTS = st.one_of(
    st.sampled_from(
        ["a cat", 'a "red" cat', "a cat, on ice", " a\tcat\n", "Größe 猫", "NA", "1", "\u200b"]
    ),
    st.text(max_size=8),
)
KINDS = st.sampled_from(
    [
        *("PNG", "JPEG", "GIF", "WEBP", "BMP", "AVIF", "TIFF"),
        *("flat", "profile", "lfs", "text", "empty", "half", "1px"),
    ]
)
STAND_INS = {"text": b"no picture", "empty": b"", "lfs": b"version https://git-lfs.github.com/spec"}


def encode(kind: str, level: int) -> bytes:
    if kind in STAND_INS:
        return STAND_INS[kind]
    size = (1, 1) if kind == "1px" else (32, 16)
    buffer = io.BytesIO()
    picture = Image.new("RGB", size, (level, level, level))
    if kind != "flat":
        picture.paste((level // 2 + 130,) * 3, (16, 0, 32, 16))  # blocks of a JPEG's own
    options = {"icc_profile": b"broken"} if kind == "profile" else {}
    picture.save(buffer, "PNG" if kind in ("half", "1px", "flat", "profile") else kind, **options)
    return buffer.getvalue()[: 45 if kind == "half" else None]


def write(root: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def read(data: DataParams) -> tuple[dict, dict, dict] | str:
    """Each entry's class and caption, and level of grey; the notes; or the line of the mistake."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            source = open_source(data, CLASSES)
            levels = {
                entry.source_id: source.load_image(index).getpixel((0, 0))[0]
                for index, entry in enumerate(source.entries)
            }
        except UserError as error:
            return str(error)
    entries = {entry.source_id: entry[1:] for entry in source.entries}
    return entries, levels, {note.item for note in source.notes}


def assert_is_a_line(message: str, root: Path) -> None:
    assert len(message.splitlines()) == 1, message
    assert str(root) in message, message


def split(name: str) -> str | None:
    """The class of a file's folder, if it has one."""
    folder = name.split("/", maxsplit=1)[0].removeprefix("3_") if "/" in name else ""
    return folder if folder in CLASSES else None


@MANY
@given(st.dictionaries(st.tuples(FOLDERS, NAMES), KINDS, max_size=5))
def test_a_folder_of_classes(files):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        levels = {f"{where}{name}.png": 40 * n for n, (where, name) in enumerate(files)}
        kinds = dict(zip(levels, files.values(), strict=True))
        write(root, {name: encode(kind, levels[name]) for name, kind in kinds.items()})
        result = read(DataParams(source="imagefolder", root=folder))
        classed = {normalise(n): n for n in levels if split(n) is not None}
        if isinstance(result, str):
            assert_is_a_line(result, root)
            assert (
                not classed or any(kinds[n] in BROKEN for n in classed.values()) or is_twice(levels)
            )
            return
        entries, found, notes = result
        assert entries == {name: (split(name), None) for name in classed}
        assert notes >= {n for n, o in classed.items() if kinds[o] in ("flat", "profile")}
        for name, original in classed.items():
            assert abs(found[name] - levels[original]) <= 2 or is_twice(levels)
        others = [name for name in levels if split(name) is None]
        for name in others:
            assert notes & {normalise(name), normalise(name).split("/")[0]}


def normalise(name: str) -> str:
    return name.replace("U\u0308", "Ü")


def is_twice(names) -> bool:
    """Whether two names are one to a viewer: then either may be taken."""
    return len({normalise(name) for name in names}) < len(names)


def tidy(text: str) -> str:
    return " ".join(text.split())


@MANY
@given(
    st.lists(
        st.tuples(NAMES, TEXTS, st.sampled_from([True] * 9 + [False])), min_size=1, max_size=3
    ),
    st.sampled_from(["csv", "jsonl", "unquoted", "txt"]),
    st.sampled_from(["text", "caption"]),
)
def test_a_table_of_captions(rows, kind, column):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        rows = [(f"{name}.png", text, is_there) for name, text, is_there in rows]
        write(root, {name: encode("PNG", 9) for name, _, is_there in rows if is_there})
        try:
            write_captions(root, rows, kind, column)
        except UnicodeEncodeError:  # half a character: no editor writes it
            return
        result = read(DataParams(source="imagefolder", root=folder))
        if isinstance(result, str):
            assert_is_a_line(result, root)
            return
        entries, _, _ = result
        expected = {normalise(name): tidy(text) for name, text, _ in rows}
        for name, (class_name, caption) in entries.items():
            assert (class_name, caption) == (None, expected[name])
        if kind != "txt":
            assert set(entries) == set(expected)


def write_captions(root, rows, kind, column):
    if kind == "txt":
        write(root, {f"{name[:-4]}.txt": text.encode() for name, text, _ in rows})
    elif kind == "jsonl":
        lines = [json.dumps({"file_name": name, column: text}) for name, text, _ in rows]
        write(root, {"metadata.jsonl": "\n".join(lines).encode()})
    elif kind == "unquoted":
        lines = [f"file_name,{column}", *(f"{name},{text}" for name, text, _ in rows)]
        write(root, {"metadata.csv": "\n".join(lines).encode()})
    else:
        buffer = io.StringIO()
        csv.writer(buffer).writerows([("file_name", column), *((n, t) for n, t, _ in rows)])
        write(root, {"metadata.csv": buffer.getvalue().encode()})


@MANY
@given(
    st.lists(st.tuples(KINDS, st.sampled_from(["cat", "dog", "cow", None]), TEXTS), max_size=4),
    st.sampled_from(["bytes", "struct", "dictionary"]),
    st.permutations(["cat", "cow", "dog"]),
    st.booleans(),
)
def test_a_parquet_file(rows, shape, names, is_numbered):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.parquet"
        try:
            write_parquet(path, rows, shape, names, is_numbered)
        except UnicodeEncodeError:  # half a character
            return
        columns = {"image_column": "image", "label_column": "label", "caption_column": "text"}
        result = read(DataParams(source="parquet", root=str(path), **columns))
        if isinstance(result, str):
            assert_is_a_line(result, path)
            assert any(kind in BROKEN or label in (None, "cow") for kind, label, _ in rows)
            return
        entries, _, notes = result
        expected = {
            f"a.parquet#{row}": (label, None if is_blank(text) else tidy(text))
            for row, (_, label, text) in enumerate(rows)
        }
        assert entries == {key: value for key, value in expected.items() if value[0] in CLASSES}
        told = {
            f"a.parquet#{row}"
            for row, (kind, label, text) in enumerate(rows)
            if label in CLASSES and (kind in ("flat", "profile") or is_blank(text))
        }
        assert notes - told == set(expected) - set(entries) - told
        assert notes >= told


def write_parquet(path, rows, shape, names, is_numbered):
    images = [encode(kind, 40 * n) for n, (kind, _, _) in enumerate(rows)]
    values = {
        "bytes": lambda: pa.array(images, pa.binary()),
        "struct": lambda: pa.array(
            [{"bytes": data} for data in images], pa.struct([("bytes", pa.binary())])
        ),
        "dictionary": lambda: pa.array(images, pa.binary()).dictionary_encode(),
    }
    labels = [label for _, label, _ in rows]
    codes = [label and names.index(label) for label in labels]
    column = pa.array(codes, pa.int64()) if is_numbered else pa.array(labels, pa.string())
    texts = pa.array([text for _, _, text in rows], pa.string())
    table = pa.table({"image": values[shape](), "label": column, "text": texts})
    features = {"label": {"names": list(names)}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path)
