import os
import unicodedata
from pathlib import Path

import pytest

from stages.sources.notes import Note
from stages.sources.walking import digest_files, list_files, walk, word_missing


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")


def list_names(root):
    found, left_out = walk(root)
    return [name for name, _ in found], {note.item: note.reason for note in left_out}


def test_hidden_files_and_what_systems_leave_are_left_out_by_name(tmp_path):
    litter = ["._cat", "cat/._0.png", "cat/.ipynb_checkpoints/0.png", "cat/@eaDir/0.png/x.jpg",
              "__MACOSX/cat/0.png", "cat/Thumbs.db", "cat/.DS_Store", "Desktop.ini"]  # fmt: skip
    write(tmp_path, "cat/0.png", *litter)
    names, left_out = list_names(tmp_path)
    assert names == ["cat/0.png"]
    assert set(left_out.values()) == {"hidden, or left by a program"}
    assert len(left_out) == len(litter)


def test_a_hidden_folder_above_the_root_hides_nothing(tmp_path):
    write(tmp_path, ".cache/pictures/0.png")
    assert list_names(tmp_path / ".cache/pictures") == (["0.png"], {})


def test_links_are_followed_but_not_to_nothing_or_in_circles(tmp_path):
    write(tmp_path, "blobs/abc", "root/dog/0.png")
    (tmp_path / "root/1.png").symlink_to("../blobs/abc")
    (tmp_path / "root/cat").symlink_to("../blobs")
    (tmp_path / "root/dog/loop").symlink_to("..")
    (tmp_path / "root/dog/gone.png").symlink_to("nowhere.png")
    names, left_out = list_names(tmp_path / "root")
    assert names == ["1.png", "cat/abc", "dog/0.png"]
    assert left_out == {
        "dog/loop": "link back to a folder above it",
        "dog/gone.png": "link to what is not there",
    }


def test_names_are_in_the_form_that_is_compared_and_what_is_no_text_is_left_out(tmp_path):
    write(tmp_path, unicodedata.normalize("NFD", "Größe.png"))
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    names, left_out = list_names(tmp_path)
    assert names == [unicodedata.normalize("NFC", "Größe.png")]
    assert list(left_out.values()) == ["name that is no text: rename it"]


def test_a_pipe_is_left_out(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    assert list_names(tmp_path) == ([], {"pipe.png": "neither a file nor a folder"})


def test_the_digest_tells_another_name_size_or_time(tmp_path):
    write(tmp_path, "a.png", "b.png")
    digests = [digest_files(walk(tmp_path)[0])]
    assert digest_files(walk(tmp_path)[0]) == digests[0]
    (tmp_path / "b.png").rename(tmp_path / "c.png")
    digests.append(digest_files(walk(tmp_path)[0]))
    os.utime(tmp_path / "a.png", ns=(1, 1))
    digests.append(digest_files(walk(tmp_path)[0]))
    (tmp_path / "a.png").write_bytes(b"xy")
    os.utime(tmp_path / "a.png", ns=(1, 1))
    digests.append(digest_files(walk(tmp_path)[0]))
    assert len(set(digests)) == 4


def test_a_folder_of_shards_and_a_pattern_are_files_in_their_order(tmp_path):
    write(tmp_path, "data/train-1.parquet", "data/train-0.parquet", "data/test-0.parquet", "x.md")
    every = ["data/test-0.parquet", "data/train-0.parquet", "data/train-1.parquet"]
    assert [name for name, _ in list_files(tmp_path)[0]] == every
    train, _ = list_files(tmp_path / "data/train-*.parquet")
    assert [name for name, _ in train] == ["train-0.parquet", "train-1.parquet"]
    assert list_files(tmp_path / "nowhere.parquet") == ([], [])


@pytest.mark.parametrize("is_copy", [True, False])
def test_what_is_missing_in_a_copy_of_the_repository_is_told_so(tmp_path, monkeypatch, is_copy):
    copy = tmp_path / ".dvc/tmp/exps/tmpabc"
    copy.mkdir(parents=True)
    monkeypatch.chdir(copy if is_copy else tmp_path)
    message = str(word_missing(Path("my/pictures"), "data.root", "folder"))
    assert message.startswith("data.root: no folder my/pictures")
    assert ("copy of the repository" in message and "-C my/pictures" in message) == is_copy


@pytest.mark.parametrize(
    ("target", "remedy"),
    [
        ("gone.png", ""),
        (".git/annex/objects/aa/SHA256E-s3--b.png", ": run `git annex get .`"),
        ("../.dvc/cache/files/md5/ab/cd", ": run `dvc pull`"),
    ],
)
def test_a_link_to_what_is_not_there_says_what_brings_it(tmp_path, target, remedy):
    (tmp_path / "a.png").symlink_to(target)
    assert walk(tmp_path) == ([], [Note("a.png", f"link to what is not there{remedy}")])


def test_pictures_that_dvc_knows_and_that_are_not_here_are_told_so(tmp_path):
    (tmp_path / "pets.dvc").write_text("outs: []")
    message = str(word_missing(tmp_path / "pets", "data.root", "folder"))
    assert message.endswith(f"pets, but {tmp_path}/pets.dvc: run `dvc pull {tmp_path}/pets`")
