import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.config.mistakes import UserError
from stages.files import pairs
from stages.files.pairs import open_pictures, read_pairs, read_parts, write_pairs

NUM_PAIRS = 600


def name_pictures():
    return [f"picture {row}".encode() for row in range(NUM_PAIRS)]


def write_some(path):
    rows = pd.DataFrame({"caption": [str(row) for row in range(NUM_PAIRS)], "class": None})
    write_pairs(rows.assign(split="train", source_id="a"), iter(name_pictures()), path)


def test_pairs_come_back_with_bytes_and_without_classes(tmp_path):
    path = tmp_path / "pairs.parquet"
    row = {"caption": "NA", "class": None, "split": "train", "source_id": "a"}
    write_pairs(pd.DataFrame([row]), [b"\x00\xff"], path)
    (found,) = read_pairs(path).to_dict("records")
    assert found["image"] == b"\x00\xff"
    assert found["caption"] == "NA"
    assert pd.isna(found["class"])
    assert list(read_pairs(path, ["split"])) == ["split"]


def test_parts_and_single_pictures_are_those_of_their_rows(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_some(path)
    parts = list(read_parts(path, 64))
    assert [len(part) for part in parts] == [64] * 9 + [24]
    assert [data for part in parts for data in part["image"]] == name_pictures()
    assert [text for part in parts for text in part["caption"]] == list(map(str, range(NUM_PAIRS)))
    pictures = open_pictures(path)
    assert [pictures[row] for row in (0, 255, 256, 599)] == [
        name_pictures()[row] for row in (0, 255, 256, 599)
    ]


def test_no_more_pictures_than_a_group_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(pairs, "PAIRS_PER_GROUP", 3)
    written = []
    monkeypatch.setattr(pq.ParquetWriter, "write_table", lambda _, part: written.append(taken[0]))
    taken = [0]

    def take():
        for data in name_pictures():
            taken[0] += 1
            yield data

    rows = pd.DataFrame({"caption": [""] * 7, "class": "", "split": "", "source_id": ""})
    write_pairs(rows, take(), tmp_path / "pairs.parquet")
    assert written == [3, 6, 7]


def test_fewer_pictures_than_rows_write_nothing(tmp_path):
    rows = pd.DataFrame({"caption": ["", ""], "class": "", "split": "", "source_id": ""})
    with pytest.raises(pa.ArrowInvalid):
        write_pairs(rows, [b""], tmp_path / "pairs.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("read", [read_pairs, lambda p: next(read_parts(p, 1)), open_pictures])
def test_what_is_no_table_of_pairs_is_refused_by_name(read, tmp_path):
    path = tmp_path / "pairs.parquet"
    with pytest.raises(UserError, match=r"pairs\.parquet; run `dvc repro prepare`"):
        read(path)
    path.write_bytes(b"nothing of the kind")
    with pytest.raises(UserError, match=r"pairs\.parquet: not a table of pairs"):
        read(path)
    pd.DataFrame({"caption": ["a"]}).to_parquet(path)
    with pytest.raises(UserError, match=r"pairs\.parquet: .*no column image, class"):
        read(path)


def test_a_picture_that_is_damaged_in_the_file_is_named(tmp_path):
    path = tmp_path / "pairs.parquet"
    write_some(path)
    pictures = open_pictures(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"pairs\.parquet, row 300: not readable"):
        pictures[300]
