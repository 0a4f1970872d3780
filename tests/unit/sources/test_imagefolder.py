import io
import json

import pandas as pd
import pytest

from stages.config.mistakes import UserError
from stages.sources.drawing.pictures import draw_picture
from stages.sources.opening import open_source
from tests.unit.sources.builders import CLASSES, make_data, make_picture


def write_folder(root, names):
    for value, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        make_picture(value).save(path)
    return root


def test_imagefolder_takes_subfolders_as_classes_in_a_stable_order(tmp_path):
    root = write_folder(tmp_path, ["dog/b.png", "cat/z.PNG", "dog/a.png", "cat/deep/a.png"])
    (root / "cat" / "notes.txt").write_text("no picture")
    source = open_source(make_data("imagefolder", root), CLASSES)
    assert [entry[:2] for entry in source.entries] == [
        ("cat/deep/a.png", "cat"),
        ("cat/z.PNG", "cat"),
        ("dog/a.png", "dog"),
        ("dog/b.png", "dog"),
    ]
    assert [source.load_image(i).getpixel((0, 0))[0] for i in range(4)] == [3, 1, 2, 0]


@pytest.mark.parametrize("kind", ["csv", "jsonl"])
def test_imagefolder_takes_captions_from_metadata(kind, tmp_path):
    root = write_folder(tmp_path, ["b.png", "in/a.png"])
    rows = [("in/a.png", 'a "nice",  picture'), ("b.png", "NA")]
    if kind == "csv":
        pd.DataFrame(rows, columns=["file_name", "text"]).to_csv(root / "metadata.csv", index=False)
    else:
        lines = [json.dumps({"file_name": name, "text": text}) for name, text in rows]
        (root / "metadata.jsonl").write_text("\n".join(lines) + "\n\n")
    source = open_source(make_data("imagefolder", root), CLASSES)
    assert [entry[1:] for entry in source.entries] == [(None, 'a "nice", picture'), (None, "NA")]
    assert source.load_image(0) == make_picture(1)


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("file_name,text\n../secret.png,x\n", r"line 2: \.\./secret\.png is outside"),
        ("file_name,text\n/etc/passwd,x\n", "line 2: /etc/passwd is outside"),
        ("file_name,text\nb.png,x\n", r"line 2: no file .*b\.png"),
        ("file_name,text\na.png,x\na.png,y\n", r"line 3: a\.png is listed twice"),
        ("file_name,text\na.png,\n", r"line 2: the text of a\.png is empty"),
        ("file_name,prompt\na.png,x\n", "line 2: needs file_name and text"),
        ("file_name,text\n", "lists no pictures"),
    ],
)
def test_imagefolder_names_the_line_of_the_metadata_that_is_wrong(metadata, message, tmp_path):
    write_folder(tmp_path, ["secret.png", "root/a.png"])
    (tmp_path / "root" / "metadata.csv").write_text(metadata)
    with pytest.raises((ValueError, FileNotFoundError), match=rf"metadata\.csv.*{message}"):
        open_source(make_data("imagefolder", tmp_path / "root"), CLASSES)


def test_imagefolder_refuses_broken_lines_and_two_kinds_of_metadata(tmp_path):
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x"}\n{"file')
    with pytest.raises(UserError, match=r"metadata\.jsonl, line 2: not JSON"):
        open_source(make_data("imagefolder", tmp_path), CLASSES)
    (tmp_path / "metadata.csv").write_text("")
    with pytest.raises(UserError, match="keep one of them"):
        open_source(make_data("imagefolder", tmp_path), CLASSES)


def test_imagefolder_refuses_missing_empty_and_unknown_folders(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        open_source(make_data("imagefolder", tmp_path / "nowhere"), CLASSES)
    with pytest.raises(UserError, match="no pictures; expected a subfolder for each"):
        open_source(make_data("imagefolder", tmp_path), CLASSES)
    write_folder(tmp_path, ["lynx/a.png"])
    with pytest.raises(UserError, match=r"folder lynx is none of prepare\.classes \(cat, dog\)"):
        open_source(make_data("imagefolder", tmp_path), CLASSES)


def test_imagefolder_names_the_file_that_is_truncated(tmp_path):
    path = write_folder(tmp_path, ["cat/a.png"]) / "cat" / "a.png"
    buffer = io.BytesIO()
    draw_picture("photo", "cat", 0).image.save(buffer, format="PNG")
    path.write_bytes(buffer.getvalue()[:-500])
    source = open_source(make_data("imagefolder", tmp_path), CLASSES)
    with pytest.raises(UserError, match=r"cat/a\.png: not a whole picture"):
        source.load_image(0)
