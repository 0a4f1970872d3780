import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.config.mistakes import UserError
from stages.files import pictures
from stages.files.pictures import LazyColumn, read_parts, read_rows, write_pictures
from stages.files.tables import PAIRS_SCHEMA, SAMPLES_SCHEMA

NUM_ROWS = 600
STAGE = "prepare"


def name_images():
    return [f"picture {row}".encode() for row in range(NUM_ROWS)]


def write_some(path):
    rows = pd.DataFrame({"caption": [str(row) for row in range(NUM_ROWS)], "class": None})
    write_pictures(
        rows.assign(split="train", source_id="a"), iter(name_images()), path, PAIRS_SCHEMA
    )


def test_pairs_come_back_with_bytes_and_without_classes(tmp_path):
    path = tmp_path / "pairs.parquet"
    row = {"caption": "NA", "class": None, "split": "train", "source_id": "a"}
    write_pictures(pd.DataFrame([row]), [b"\x00\xff"], path, PAIRS_SCHEMA)
    (part,) = read_parts(path, PAIRS_SCHEMA, STAGE, 10)
    (found,) = part.to_dict("records")
    assert found["image"] == b"\x00\xff"
    assert found["caption"] == "NA"
    assert pd.isna(found["class"])
    assert list(read_rows(path, {"split": "str"}, STAGE)) == ["split"]


def test_numbers_of_sampled_pictures_come_back_as_they_were(tmp_path):
    path = tmp_path / "samples.parquet"
    row = dict.fromkeys(SAMPLES_SCHEMA, "NA") | {"index": 1, "steps": 2, "guidance": 7.5}
    rows = pd.DataFrame([row | {"seed": 2**63 + 1, "is_finite": False}])
    write_pictures(rows, [b""], path, SAMPLES_SCHEMA)
    found = read_rows(path, SAMPLES_SCHEMA, "sample")
    assert found.to_dict("records") == rows[list(SAMPLES_SCHEMA)].to_dict("records")
    assert found["seed"].dtype == np.uint64


def test_parts_and_single_pictures_are_those_of_their_rows(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_some(path)
    parts = list(read_parts(path, PAIRS_SCHEMA, STAGE, 64))
    assert [len(part) for part in parts] == [64] * 9 + [24]
    assert [data for part in parts for data in part["image"]] == name_images()
    assert [text for part in parts for text in part["caption"]] == list(map(str, range(NUM_ROWS)))
    images = LazyColumn(path)
    assert [images[row] for row in (599, 0, 63, 64)] == [
        name_images()[row] for row in (599, 0, 63, 64)
    ]


def test_no_more_pictures_than_a_group_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "ROWS_PER_GROUP", 3)
    written = []
    monkeypatch.setattr(pq.ParquetWriter, "write_table", lambda _, part: written.append(taken[0]))
    taken = [0]

    def take():
        for data in name_images():
            taken[0] += 1
            yield data

    rows = pd.DataFrame({"caption": [""] * 7, "class": "", "split": "", "source_id": ""})
    write_pictures(rows, take(), tmp_path / "pairs.parquet", PAIRS_SCHEMA)
    assert written == [3, 6, 7]


def test_fewer_pictures_than_rows_write_nothing(tmp_path):
    rows = pd.DataFrame({"caption": ["", ""], "class": "", "split": "", "source_id": ""})
    with pytest.raises(pa.ArrowInvalid):
        write_pictures(rows, [b""], tmp_path / "pairs.parquet", PAIRS_SCHEMA)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_rows(path, PAIRS_SCHEMA, STAGE),
        lambda path: next(read_parts(path, PAIRS_SCHEMA, STAGE, 1)),
    ],
)
def test_what_is_no_table_of_pictures_is_refused_by_name(read, tmp_path):
    path = tmp_path / "pairs.parquet"
    with pytest.raises(UserError, match=r"pairs\.parquet; run `dvc repro prepare`"):
        read(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"pairs\.parquet: not a whole parquet file .*dvc repro"):
        read(path)
    pd.DataFrame({"image": [b""], "caption": ["a"]}).to_parquet(path)
    with pytest.raises(UserError, match=r"pairs\.parquet: no column class, split.*dvc repro"):
        read(path)


@pytest.mark.parametrize("keep", [0.5, 0.0])
def test_a_table_that_was_cut_off_is_one_line(tmp_path, keep):
    path = tmp_path / "pairs.parquet"
    write_some(path)
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(UserError, match="not a whole parquet file") as caught:
        read_rows(path, PAIRS_SCHEMA, STAGE)
    assert "\n" not in str(caught.value)


def test_a_byte_that_changed_on_the_disk_is_noticed(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_some(path)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"picture 300", b"picture 3O0"))
    with pytest.raises(UserError, match=r"pairs\.parquet: damaged"):
        list(read_parts(path, PAIRS_SCHEMA, STAGE, 64))
    with pytest.raises(UserError, match=r"pairs\.parquet, row 300: not readable"):
        LazyColumn(path)[300]
