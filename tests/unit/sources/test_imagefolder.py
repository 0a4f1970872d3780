import io
import json
import unicodedata

import pandas as pd
import pytest
from PIL import Image

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
        (
            "file_name,text\n../secret.png,x\n",
            r"line 2: \.\./secret\.png is outside .*; write a name under it, or drop the row",
        ),
        ("file_name,text\n/etc/passwd,x\n", "line 2: /etc/passwd is outside"),
        ("file_name,text\nb.png,x\n", r"line 2: no file .*b\.png; did you mean a\.png\?"),
        ("file_name,text\nxyz,x\n", r"line 2: no file .*xyz; correct the name, or drop the row"),
        ("file_name,text\na.png,x\na.png,y\n", r"line 3: a\.png is listed twice; drop one row"),
        ("file_name,text\na.png,\n", r"line 2: the text of a\.png is empty; write it, or drop it"),
        ("\nfile_name,prompt\na.png,x\n", "line 2: needs file_name and text"),
        ("a.png\n", "line 1: needs file_name and text"),
        ("file_name;text\na.png;x, y\n", "line 1: semicolons are between the columns; separate"),
        ('"file_name";"text"\n"a.png";"x, y"\n', "line 1: semicolons are between the columns;"),
        ("file_name\ttext\na.png\tx, y\n", "line 1: tabs are between the columns; separate"),
        ("sep=;\nfile_name;text\na.png;x\n", "line 1: sep=; is for Excel alone; save it as plain"),
        ("sep=,\nfile_name,text\na.png,x\n", "line 1: sep=, is for Excel alone; save it as plain"),
        ("file_name,text\n{root}/a.png,x\n", r"line 2: /.*/a\.png is an absolute name; write a"),
        ("file_name,text\na.png,\u200b\ufeff\n", r"line 2: the text of a\.png is empty"),
        ("version https://git-lfs.github.com/spec/v1\n", "git-lfs pointer, not the file: run `git"),
        ("file_name,text\n", "lists no pictures; add rows, or take it out"),
    ],
)
def test_imagefolder_names_the_line_of_the_metadata_that_is_wrong(metadata, message, tmp_path):
    write_folder(tmp_path, ["secret.png", "root/a.png"])
    metadata = metadata.replace("{root}", str(tmp_path / "root"))
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


def test_a_key_that_is_there_twice_is_refused(tmp_path):
    write_folder(tmp_path, ["a.png"])
    row = '{"file_name": "a.png", "text": "a cat", "text": "a dog"}'
    (tmp_path / "metadata.jsonl").write_text(row)
    with pytest.raises(UserError, match=r"line 1: not JSON \(a key is there twice; take one out\)"):
        open_source(make_data("imagefolder", tmp_path), CLASSES)


def test_imagefolder_refuses_missing_empty_and_unknown_folders(tmp_path):
    with pytest.raises(UserError, match="no folder"):
        open_source(make_data("imagefolder", tmp_path / "nowhere"), CLASSES)
    with pytest.raises(UserError, match="no pictures; expected a subfolder for each"):
        open_source(make_data("imagefolder", tmp_path), CLASSES)
    write_folder(tmp_path, ["a.png", "b.png"])
    with pytest.raises(UserError, match="2 pictures without class or caption; expected a sub"):
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


def take(root, classes=CLASSES):
    """What each picture's source says of it, and what was noted of others."""
    source = open_source(make_data("imagefolder", root), classes)
    entries = {entry.source_id: entry[1:] for entry in source.entries}
    return entries, {note.item: note.reason for note in source.notes}


def test_captions_lie_in_text_files_beside_the_pictures(tmp_path):
    write_folder(tmp_path, ["a.png", "b.jpg", "c.png"])
    (tmp_path / "a.txt").write_text("\ufeff a red\n cat ")
    (tmp_path / "b.txt").write_text("a dog")
    (tmp_path / "README.txt").write_text("notes")
    entries, notes = take(tmp_path)
    assert entries == {"a.png": (None, "a red cat"), "b.jpg": (None, "a dog")}
    assert notes == {"c.png": "no caption", "README.txt": "no picture of a known format"}


def test_kohyas_folders_are_classes_whose_repeats_are_told(tmp_path):
    write_folder(tmp_path, ["10_cat/a.png", "2_dog/b.png"])
    (tmp_path / "10_cat/a.txt").write_text("a red cat")
    entries, notes = take(tmp_path)
    assert entries == {"10_cat/a.png": ("cat", "a red cat"), "2_dog/b.png": ("dog", None)}
    assert notes == {
        "10_cat/": "number of repeats, which is not used",
        "2_dog/": "number of repeats, which is not used",
        "2_dog/b.png": "no caption: one of prepare.caption_templates is taken",
    }


@pytest.mark.parametrize(
    ("name", "header"),
    [("metadata.csv", "file_name,caption"), ("captions.csv", "image,text")],
)
def test_a_table_gives_captions_and_folders_give_classes(tmp_path, name, header):
    write_folder(tmp_path, ["cat/a.png", "dog/b.png", "dog/c.png"])
    (tmp_path / name).write_text(f"{header}\ncat/a.png,a cat\ndog/b.png,a dog\n")
    entries, notes = take(tmp_path)
    assert entries == {"cat/a.png": ("cat", "a cat"), "dog/b.png": ("dog", "a dog")}
    assert notes == {"dog/c.png": f"not in {name}"}


def test_classes_that_not_all_pictures_have_are_not_used_and_that_is_said(tmp_path):
    write_folder(tmp_path, ["cat/a.png", "b.png"])
    (tmp_path / "metadata.csv").write_text("file_name,text\ncat/a.png,a cat\nb.png,a dog\n")
    entries, notes = take(tmp_path)
    assert entries == {"cat/a.png": (None, "a cat"), "b.png": (None, "a dog")}
    assert notes == {"prepare.classes": "folders of classes, not used: 1 picture outside of them"}


def test_pictures_are_known_by_their_content_and_others_are_told(tmp_path):
    write_folder(tmp_path, ["cat/a.png", "d.png"])
    (tmp_path / "cat/a.png").rename(tmp_path / "cat/blob")
    big = Image.effect_noise((90, 90), 50)  # its directory lies at the end of the file
    big.save(tmp_path / "cat/tiff", "TIFF")
    (tmp_path / "cat/b.heic").write_bytes(b"\0\0\0\x18ftypheic")
    (tmp_path / "cat/c.db").write_bytes(b"")
    entries, notes = take(tmp_path)
    assert entries == {"cat/blob": ("cat", None), "cat/tiff": ("cat", None)}
    assert notes == {
        "cat/b.heic": "HEIC, which is not read: save it as PNG or JPEG",
        "cat/c.db": "empty file",
        "d.png": "in no class's folder",
    }


def test_names_are_compared_as_they_are_read(tmp_path):
    whole, parts = "Größe", unicodedata.normalize("NFD", "Größe")
    write_folder(tmp_path, [f"{parts}/a.png"])
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{whole}/a.png,a cat\n")
    entries, _ = take(tmp_path, [whole])
    assert entries == {f"{whole}/a.png": (whole, "a cat")}
    assert open_source(make_data("imagefolder", tmp_path), [whole]).load_image(0) == make_picture(0)


@pytest.mark.parametrize(
    ("names", "hint"),
    [
        (["train/cat/a.png", "test/cat/b.png"], "set data.root to .*/test, which has folders of"),
        (["part/a.png", "part/metadata.csv"], "set data.root to .*/part, which has a table"),
        (["cats/a.png"], "did you mean cat.*; rename it, add it to prepare.classes, or move"),
    ],
)
def test_a_layout_one_folder_off_is_told_with_the_folder_that_is_meant(tmp_path, names, hint):
    write_folder(tmp_path, [name for name in names if name.endswith("png")])
    for name in names:
        if name.endswith("csv"):
            (tmp_path / name).write_text("file_name,text\na.png,a cat\n")
    with pytest.raises(UserError, match=rf"is none of prepare\.classes \(cat, dog\); {hint}"):
        take(tmp_path)


def test_links_are_read_where_they_lead(tmp_path):
    write_folder(tmp_path, ["blobs/0.png"])
    root = tmp_path / "snapshot"
    root.mkdir()
    (root / "a.png").symlink_to("../blobs/0.png")
    (tmp_path / "blobs/1").write_text("file_name,text\n./a.png,a cat\n")
    (root / "metadata.csv").symlink_to("../blobs/1")
    assert take(root) == ({"a.png": (None, "a cat")}, {})


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("a.png,a red cat, on ice", "more values than columns; quote a caption"),
        ('a.png,"a "red" cat"', "inside quotes write a quote twice"),
        ("a.png,a \x07cat", "the text of a.png holds control characters"),
    ],
)
def test_a_caption_is_whole_or_refused_with_its_line(tmp_path, row, message):
    write_folder(tmp_path, ["a.png"])
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{row}\n")
    with pytest.raises(UserError, match=rf"metadata\.csv, line 2: .*{message}"):
        take(tmp_path)


def test_names_of_caption_files_may_be_in_upper_case(tmp_path):
    write_folder(tmp_path / "a", ["1.PNG"])
    (tmp_path / "a/1.TXT").write_text("a cat")
    assert take(tmp_path / "a") == ({"1.PNG": (None, "a cat")}, {})
    write_folder(tmp_path / "b", ["1.png"])
    (tmp_path / "b/Metadata.CSV").write_text("file_name,text\n1.png,a cat\n")
    assert take(tmp_path / "b") == ({"1.png": (None, "a cat")}, {})


def test_captions_that_are_not_used_are_told_with_what_makes_them_work(tmp_path):
    write_folder(tmp_path, ["cat/1.png", "cat/2.png"])
    tables = ["metadata.tsv", "cat/metadata.csv", "labels.csv", "Captions.json", "metadata.parquet"]
    for name in ["cat/1.caption", "cat/2.png.txt", "cat/3.txt", *tables]:
        (tmp_path / name).write_text("a cat")
    entries, notes = take(tmp_path)
    assert set(entries.values()) == {("cat", None)}
    assert notes.pop("cat/3.txt") == "no picture of a known format"
    of_one = "caption of a picture: name it as the picture, but .txt"
    assert [notes.pop(name) for name in ("cat/1.caption", "cat/2.png.txt")] == [of_one] * 2
    reason = (
        "table, not used: captions are read from metadata.csv or metadata.jsonl or captions.csv"
    )
    assert notes == dict.fromkeys(tables, f"{reason} or captions.jsonl right under data.root")


@pytest.mark.parametrize("name", ["1.caption", "metadata.tsv"])
def test_pictures_without_a_class_lead_to_the_captions_that_are_not_read(tmp_path, name):
    write_folder(tmp_path, ["1.png"])
    (tmp_path / name).write_text("a cat")
    with pytest.raises(UserError, match=rf"1 picture without .* (caption|table).*\({name}\)"):
        take(tmp_path)


def test_captions_beside_a_table_are_told(tmp_path):
    write_folder(tmp_path, ["1.png"])
    (tmp_path / "metadata.csv").write_text("file_name,text\n1.png,a cat\n")
    for name in ("1.txt", "old.csv"):
        (tmp_path / name).write_text("a dog")
    entries, notes = take(tmp_path)
    assert entries == {"1.png": (None, "a cat")}
    assert notes == dict.fromkeys(
        ["1.txt", "old.csv"], "captions beside metadata.csv, which has them: not used"
    )


def test_of_two_columns_of_captions_it_is_told_which_is_used(tmp_path):
    write_folder(tmp_path, ["1.png"])
    (tmp_path / "metadata.csv").write_text("file_name,caption,text\n1.png,a cat,a dog\n")
    entries, notes = take(tmp_path)
    assert entries == {"1.png": (None, "a dog")}
    assert notes == {"metadata.csv": "columns text and caption: text is used"}


def test_a_name_that_begins_with_dots_is_no_way_out(tmp_path):
    write_folder(tmp_path, ["a/..b.png"])
    (tmp_path / "metadata.csv").write_text("file_name,text\na/../a/..b.png,a cat\n")
    assert take(tmp_path) == ({"a/..b.png": (None, "a cat")}, {})


def test_a_caption_that_is_no_utf8_is_named_with_its_line(tmp_path):
    write_folder(tmp_path, ["1.png"])
    (tmp_path / "1.txt").write_bytes(b"\xef\xbb\xbfa cat\nin a caf\xe9")
    with pytest.raises(UserError, match=r"1\.txt, line 2: byte 0xe9 is no UTF-8; save it as UTF-8"):
        take(tmp_path)
