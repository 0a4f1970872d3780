"""What a stranger's files brought to light: each is said in a line, and nothing is silent."""

import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import ValidationError

from stages.config.mistakes import UserError
from stages.config.params import PrepareParams, load_params
from stages.sources import imagefolder, parquet
from stages.sources.notes import Note
from stages.sources.prompts import read_prompts
from stages.sources.subject import open_subject
from stages.sources.walking import list_files, walk, word_missing
from tests.unit.sources.builders import make_data
from tests.unit.sources.test_imagefolder import write_folder
from tests.unit.sources.test_subject import make_subject

CLASSES = ("cat", "dog")


def test_a_name_too_long_for_any_file_is_a_file_that_is_not_there(tmp_path):
    write_folder(tmp_path, ["1.png"])
    (tmp_path / "metadata.csv").write_text(f"file_name,text\n{'x' * 5000},a cat\n")
    with pytest.raises(UserError, match=r"metadata\.csv, line 2: no file"):
        imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)
    assert list_files(tmp_path / ("x" * 5000)) == ([], [])


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    table = pa.table([[b"x"], [0], [1]], names=["image", "label", "label"])
    pq.write_table(table, tmp_path / "t.parquet")
    data = make_data("parquet", str(tmp_path), image_column="image", label_column="label")
    with pytest.raises(UserError, match=r"t\.parquet: column 'label' is there twice; rename one"):
        parquet.open_source(data, CLASSES)


def test_two_names_that_are_one_in_nfc_are_not_taken_for_each_other(tmp_path):
    for form in ("NFC", "NFD"):
        (tmp_path / f"{unicodedata.normalize(form, 'é')}.png").write_bytes(b"x")
    found, left_out = walk(tmp_path)
    assert len(found) == 1
    assert [note.reason for note in left_out] == [
        "same name as another, in Unicode's form NFC: rename it"
    ]


def test_what_lies_beside_shards_is_listed_and_a_suffix_may_be_upper_case(tmp_path):
    for name in ("a.PARQUET", "b.parquet", "notes.md", ".hidden"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "gone.parquet").symlink_to("nowhere")
    files, left_out = list_files(tmp_path)
    assert [found.name for found in files] == ["a.PARQUET", "b.parquet"]
    assert {note.item for note in left_out} == {"notes.md", ".hidden", "gone.parquet"}


@pytest.mark.parametrize("text", ["BMW number 1 on a road", "P5 is a road"])
def test_a_caption_that_begins_like_a_picture_is_a_caption(text, tmp_path):
    write_folder(tmp_path, ["cat/1.png"])
    (tmp_path / "cat/1.txt").write_text(text)
    source = imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)
    assert [entry.caption for entry in source.entries] == [text]


def test_a_hidden_picture_that_a_table_names_is_not_listed_as_left_out(tmp_path):
    write_folder(tmp_path, [".h.png", "1.png"])
    (tmp_path / "metadata.csv").write_text("file_name,text\n.h.png,a cat\n1.png,a dog\n")
    source = imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)
    assert [entry.source_id for entry in source.entries] == [".h.png", "1.png"]
    assert ".h.png" not in {note.item for note in source.notes}


def test_a_class_that_is_named_in_two_forms_is_named_twice():
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    values = load_params().prepare.model_dump() | {"classes": names}
    with pytest.raises(ValidationError, match="is there twice"):
        PrepareParams(**values)


def test_none_is_a_word_for_a_column_that_there_is_not():
    columns = {"image_column": "image", "label_column": "label", "caption_column": "none"}
    assert make_data("parquet", "x", **columns).caption_column is None


def test_a_merge_conflict_in_a_table_is_told_as_one(tmp_path):
    write_folder(tmp_path, ["1.png"])
    text = "file_name,text\n<<<<<<< HEAD\n1.png,a cat\n=======\n1.png,a dog\n>>>>>>> theirs\n"
    (tmp_path / "metadata.csv").write_text(text)
    with pytest.raises(UserError, match=r"metadata\.csv, line 2: a merge conflict; keep what you"):
        imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)


@pytest.mark.parametrize("name", ["x" * 300, "/".join(["x" * 200] * 30)])
def test_a_root_too_long_for_any_file_is_one_that_is_not_there(name):
    with pytest.raises(UserError, match=r"^data\.root: no folder xxx.*; set it to one$"):
        imagefolder.open_source(make_data("imagefolder", name), CLASSES)
    with pytest.raises(UserError, match=r"^data\.root: no parquet file xxx"):
        parquet.open_source(make_data("parquet", name, image_column="i", label_column="l"), CLASSES)
    subject = make_subject(source="imagefolder", root=name)
    with pytest.raises(UserError, match=r"^subject\.root: no folder xxx"):
        open_subject(subject, "<toy>")
    with pytest.raises(UserError, match=r"^prompts\.file: no file xxx"):
        read_prompts(Path(name))


@pytest.mark.parametrize(
    ("name", "what", "end"),
    [
        ("notes.txt", "folder", "no folder notes.txt (it is a file); set it to one"),
        ("pets", "parquet file", "no parquet file pets (it is a folder); set it to one"),
        ("~/pets", "folder", "no folder ~/pets; ~ is not read as a home: set it to HOME/pets"),
    ],
)
def test_what_lies_in_the_place_of_a_source_is_said(name, what, end, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").touch()
    (tmp_path / "pets").mkdir()
    message = str(word_missing(Path(name), "data.root", what))
    assert message == f"data.root: {end.replace('HOME', os.path.expanduser('~'))}"  # noqa: PTH111


def read_captions(tmp_path, text, names=("1.png", "2.png")):
    write_folder(tmp_path, names)
    (tmp_path / "metadata.csv").write_text(text)
    source = imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)
    return {entry.source_id: entry.caption for entry in source.entries}


def test_a_blank_before_a_quote_changes_no_caption(tmp_path):
    text = 'file_name, text\n1.png, "a cat, ""Tom"""\n"2.png",  "a dog"\n'
    assert read_captions(tmp_path, text) == {"1.png": 'a cat, "Tom"', "2.png": "a dog"}


@pytest.mark.parametrize("blank", ["\u202f", "\xa0", "  ", "\u3000"])
def test_a_name_is_found_with_the_blanks_that_it_has(blank, tmp_path):
    names = (f"Screenshot 3.04{blank}PM.png", "Screenshot 3.04 PM.png")
    text = f"file_name,text\n{names[0]},a cat\n {names[1]} ,a dog\n"
    assert read_captions(tmp_path, text, names) == dict(zip(names, ("a cat", "a dog"), strict=True))


@pytest.mark.parametrize("coding", ["utf-16-le", "utf-16-be", "utf-32-le"])
@pytest.mark.parametrize("name", ["metadata.csv", "metadata.jsonl", "1.txt"])
def test_a_text_of_wide_characters_is_told_as_such(name, coding, tmp_path):
    write_folder(tmp_path, ["1.png"])
    (tmp_path / name).write_bytes('{"file_name": "1.png"}, text'.encode(coding))
    with pytest.raises(UserError, match=rf"{name}, line 1: .*; save it as UTF-8$"):
        imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)


@pytest.mark.parametrize("column", ["label", "text"])
def test_names_in_parquet_that_are_no_utf8_are_refused_with_their_row(column, tmp_path):
    texts = pa.array([b"cat", b"caf\xe9"])
    texts = pa.Array.from_buffers(pa.string(), 2, texts.buffers())
    values = {"image": [b"x", b"x"], "label": ["cat", "cat"], "text": ["a", "b"]}
    pq.write_table(pa.table(values | {column: texts}), tmp_path / "t.parquet")
    columns = {"image_column": "image", "label_column": "label", "caption_column": "text"}
    with pytest.raises(UserError, match=rf"t\.parquet: column '{column}' is not readable .*UTF8"):
        parquet.open_source(make_data("parquet", str(tmp_path), **columns), CLASSES)


def test_a_struct_whose_bytes_are_text_is_refused_by_its_type(tmp_path):
    pq.write_table(
        pa.table({"image": [{"bytes": "abc"}], "label": ["cat"]}), tmp_path / "t.parquet"
    )
    data = make_data("parquet", str(tmp_path), image_column="image", label_column="label")
    with pytest.raises(UserError, match=r"column 'image' holds struct<bytes: string>, expected by"):
        parquet.open_source(data, CLASSES)


def test_a_table_that_is_a_link_to_nothing_is_refused(tmp_path):
    write_folder(tmp_path, ["cat/1.png", "dog/1.png"])
    (tmp_path / "metadata.csv").symlink_to("../.git/annex/objects/x/y")
    with pytest.raises(
        UserError, match=r"metadata\.csv: link to what is not there: run `git annex"
    ):
        imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)


def test_a_picture_past_the_limit_is_one_whatever_its_name(tmp_path):
    write_folder(tmp_path, ["cat/1.png"])
    Image.new("1", (20_000, 20_000)).save(tmp_path / "cat/large", format="PNG")
    source = imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)
    assert [entry.source_id for entry in source.entries] == ["cat/1.png", "cat/large"]


@pytest.mark.parametrize("name", ["p.csv", "p.txt", "p"])
def test_prompts_are_a_csv_whatever_the_file_is_called(name, tmp_path):
    (tmp_path / name).write_text("set,class,prompt\nmarketing,mug,a mug\n")
    assert [row.prompt for row in read_prompts(tmp_path / name)] == ["a mug"]
    (tmp_path / name).write_text("set\tclass\tprompt\nmarketing\tmug\ta mug\n")
    with pytest.raises(UserError, match=r"line 1: tabs are between the columns; separate them by"):
        read_prompts(tmp_path / name)


@pytest.mark.parametrize("folder", ["CAT", "Cat", "cat "])
def test_a_folder_that_differs_in_its_case_alone_is_told_what_was_meant(folder, tmp_path):
    write_folder(tmp_path, ["dog/1.png", f"{folder}/1.png"])
    with pytest.raises(UserError, match=f"folder {folder} is none of .*did you mean cat"):
        imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)


def test_columns_of_a_table_that_are_not_read_are_told(tmp_path):
    write_folder(tmp_path, ["1.png"])
    (tmp_path / "metadata.csv").write_text("file_name,text,label,split\n1.png,a cat,cat,train\n")
    source = imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)
    assert Note("metadata.csv", "columns not used: label, split") in source.notes


def test_a_picture_that_is_gone_is_told_so(tmp_path):
    write_folder(tmp_path, ["cat/1.png"])
    source = imagefolder.open_source(make_data("imagefolder", str(tmp_path)), CLASSES)
    (tmp_path / "cat/1.png").unlink()
    with pytest.raises(UserError, match=r"cat/1\.png: not there any more; run `dvc repro` again"):
        source.load_image(0)
