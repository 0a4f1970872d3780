import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.config.mistakes import UserError
from stages.files.images import encode_png
from stages.sources.opening import open_source
from stages.sources.source import NO_CAPTION
from tests.unit.sources.builders import CLASSES, make_data, make_picture


def write_parquet(path, columns, rows_per_group=2):
    pq.write_table(pa.table(columns), path, row_group_size=rows_per_group)
    return path


def make_parquet_data(path, **columns):
    return make_data("parquet", path, **{"image_column": "img", "label_column": "label"} | columns)


PNGS = [encode_png(make_picture(value)) for value in range(5)]


@pytest.mark.parametrize(
    "pictures", [PNGS, [{"bytes": data, "path": None} for data in PNGS]], ids=["bytes", "struct"]
)
def test_parquet_gives_each_row_its_own_picture_across_row_groups(pictures, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"img": pictures, "label": [0, 1, 1, 0, 1]})
    source = open_source(make_parquet_data(path), CLASSES)
    assert [entry.class_name for entry in source.entries] == ["cat", "dog", "dog", "cat", "dog"]
    assert [source.load_image(row).getpixel((0, 0))[0] for row in (4, 0, 2, 1, 3)] == [
        4,
        0,
        2,
        1,
        3,
    ]
    assert source.entries[3].source_id == "a.parquet#3"


def test_parquet_takes_names_as_labels_and_captions_where_there_are_some(tmp_path):
    columns = {"img": PNGS[:2], "label": ["dog", "cat"], "text": [" a \n dog", None]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    source = open_source(make_parquet_data(path, caption_column="text"), CLASSES)
    assert [entry[1:] for entry in source.entries] == [("dog", "a dog"), ("cat", None)]
    source = open_source(make_parquet_data(path, label_column=None, caption_column="text"), ())
    assert source.entries[0][1:] == (None, "a dog")


@pytest.mark.parametrize("nothing", [None, "", " \u200b"])
def test_rows_without_a_caption_are_listed_where_others_have_one(nothing, tmp_path):
    columns = {"img": PNGS[:2], "label": ["dog", "cat"], "text": ["a dog", nothing]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    source = open_source(make_parquet_data(path, caption_column="text"), CLASSES)
    assert source.entries[1] == ("a.parquet#1", "cat", None)
    assert source.notes == [("a.parquet#1", NO_CAPTION)]


def test_a_pointer_in_the_place_of_the_file_is_told(tmp_path):
    (tmp_path / "a.parquet").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError, match=r"a\.parquet: git-lfs pointer, .*: run `git lfs pull`"):
        open_source(make_parquet_data(tmp_path), CLASSES)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"label": [0, 2]},
            r"row 1: label 2 is none of prepare\.classes \(0 to 1\); correct it, or",
        ),
        ({"label": [-1, 0]}, r"row 0: label -1 is none"),
        ({"label": ["cat", "cow"]}, r"row 1: label 'cow' is none of .* \(cat, dog\)"),
        ({"label": [0, None]}, r"row 1: label None is none"),
        ({"label": [True, False]}, r"row 0: label True is none"),
        ({"other": [0, 1]}, r"no column 'label'; it has img, other"),
        ({"label": [0, 1], "img": ["a", "b"]}, r"column 'img' holds string, expected bytes"),
    ],
)
def test_parquet_names_the_row_or_column_that_is_wrong(columns, message, tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"img": PNGS[:2]} | columns)
    with pytest.raises(UserError, match=rf"a\.parquet.*{message}"):
        open_source(make_parquet_data(path), CLASSES)


def test_parquet_names_the_row_whose_picture_is_broken_or_missing(tmp_path):
    columns = {"img": [PNGS[0], PNGS[1][:30], None], "label": [0, 1, 1]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    source = open_source(make_parquet_data(path), CLASSES)
    with pytest.raises(UserError, match=r"a\.parquet, row 1: damaged or cut off PNG; copy or"):
        source.load_image(1)
    with pytest.raises(UserError, match=r"a\.parquet, row 2: no picture in column 'img'"):
        source.load_image(2)


def test_parquet_refuses_a_missing_or_truncated_file(tmp_path):
    with pytest.raises(UserError, match=r"data\.root: no parquet file .*a\.parquet; set it to one"):
        open_source(make_parquet_data(tmp_path / "a.parquet"), CLASSES)
    path = write_parquet(tmp_path / "a.parquet", {"img": PNGS, "label": [0] * 5})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a whole parquet file"):
        open_source(make_parquet_data(path), CLASSES)


def write_named(path, names, labels):
    features = {"label": {"_type": "ClassLabel", "names": names}}
    table = pa.table({"img": PNGS[: len(labels)], "label": pa.array(labels, pa.int64())})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path)
    return path


@pytest.mark.parametrize(
    ("names", "expected"),
    [(["cat", "dog"], ["cat", "dog"]), (["dog", "cat"], ["dog", "cat"])],
)
def test_labels_are_named_as_the_file_names_them(names, expected, tmp_path):
    path = write_named(tmp_path / "a.parquet", names, [0, 1])
    source = open_source(make_parquet_data(path), CLASSES)
    assert [entry.class_name for entry in source.entries] == expected


def test_some_of_the_files_classes_can_be_chosen_and_the_rest_is_counted(tmp_path):
    path = write_named(tmp_path / "a.parquet", ["bird", "cat", "dog"], [2, 0, 1, 0])
    source = open_source(make_parquet_data(path), CLASSES)
    assert [entry.class_name for entry in source.entries] == ["dog", "cat"]
    assert [note.item for note in source.notes] == ["a.parquet#1", "a.parquet#3"]
    assert source.load_image(1) == make_picture(2)


def test_classes_that_contradict_the_file_are_refused_with_both_lists(tmp_path):
    path = write_named(tmp_path / "a.parquet", ["bird", "cat"], [0, 1])
    with pytest.raises(UserError, match=r"labels are bird, cat; prepare\.classes are cat, dog; it"):
        open_source(make_parquet_data(path), CLASSES)


def test_shards_are_read_as_one_table(tmp_path):
    for shard in range(2):
        columns = {"img": PNGS[2 * shard : 2 * shard + 2], "label": [0, 1]}
        write_parquet(tmp_path / f"train-{shard}.parquet", columns)
    for root in (tmp_path, tmp_path / "train-*.parquet"):
        source = open_source(make_parquet_data(root), CLASSES)
        assert [entry.source_id for entry in source.entries][2] == "train-1.parquet#0"
        assert [source.load_image(i).getpixel((0, 0))[0] for i in (3, 0, 2, 1)] == [3, 0, 2, 1]


def test_dictionary_encoded_columns_and_lists_of_captions_are_read(tmp_path):
    columns = {
        "img": pa.array(PNGS[:3]).dictionary_encode(),
        "label": pa.array(["dog", "cat", "dog"]).dictionary_encode(),
        "text": [["a", "b"], ["c", "d"], []],
    }
    path = write_parquet(tmp_path / "a.parquet", columns)
    source = open_source(make_parquet_data(path, caption_column="text"), CLASSES)
    assert [entry[1:] for entry in source.entries] == [("dog", "a"), ("cat", "d"), ("dog", None)]
    assert source.load_image(2) == make_picture(2)


def test_of_a_list_of_captions_the_blank_ones_have_no_turn(tmp_path):
    columns = {"img": PNGS[:3], "text": [[None, "a"], ["", "b", "c"], [None]]}
    path = write_parquet(tmp_path / "a.parquet", columns)
    source = open_source(make_parquet_data(path, label_column=None, caption_column="text"), CLASSES)
    assert [entry.caption for entry in source.entries] == ["a", "c", None]


def test_views_and_lists_of_one_length_are_read_as_what_they_show(tmp_path):
    columns = {
        "img": pa.array(PNGS[:2], pa.binary_view()),
        "label": pa.array(["dog", "cat"], pa.string_view()),
        "text": pa.array([["a", "b"], ["c", "d"]], pa.list_(pa.string(), 2)),
    }
    path = write_parquet(tmp_path / "a.parquet", columns)
    source = open_source(make_parquet_data(path, caption_column="text"), CLASSES)
    assert [entry[1:] for entry in source.entries] == [("dog", "a"), ("cat", "d")]
    assert source.load_image(1) == make_picture(1)


def test_a_column_of_no_labels_is_refused_by_its_type(tmp_path):
    path = write_parquet(tmp_path / "a.parquet", {"img": PNGS[:2], "label": [[0], [1]]})
    with pytest.raises(UserError, match=r"column 'label' holds list<.*>, expected whole numbers"):
        open_source(make_parquet_data(path), CLASSES)
