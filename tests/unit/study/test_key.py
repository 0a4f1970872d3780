import pytest

from stages.config import paths
from stages.config.mistakes import UserError
from stages.files.pictures import NamedPictures
from stages.study.key import find_roles, list_arms, read_key
from tests.study_project import write_variant


def read_files():
    return {name: NamedPictures(path, "file_name") for name, path in paths.SAMPLES.items()}


def test_a_study_is_of_the_pictures_that_it_showed_and_of_no_others(key):
    assert find_roles(key, read_files()) == {"baseline": "baseline", "finetuned": "finetuned"}
    write_variant("finetuned", 3)
    assert find_roles(key, read_files()) == {}


def test_an_arm_is_known_by_its_pictures_whatever_its_name(key):
    renamed = key.replace({"finetuned": "a-lora"})
    assert find_roles(renamed, read_files()) == {"baseline": "baseline", "finetuned": "a-lora"}


def test_the_baseline_comes_first_of_the_arms(key):
    assert list_arms(key.replace({"finetuned": "a-lora"})) == ["baseline", "a-lora"]


@pytest.mark.usefixtures("key")
def test_a_key_that_was_edited_or_cut_off_is_refused():
    text = paths.STUDY_KEY.read_text(encoding="utf-8")
    edited = text.replace(",finetuned,", ",baseline,", 1)
    for wrong in (edited, text[:-100], text.replace("kind", "sort", 1), "", "a\n", "\0", "<b>"):
        paths.STUDY_KEY.write_text(wrong, encoding="utf-8")
        with pytest.raises(UserError, match=r"key\.csv: was changed since `make study` wrote it"):
            read_key(paths.STUDY_KEY)


@pytest.mark.usefixtures("key")
def test_a_key_that_is_missing_is_said_to_be():
    paths.STUDY_KEY.unlink()
    with pytest.raises(UserError, match=r"no file data/study/key\.csv; without it nobody knows"):
        read_key(paths.STUDY_KEY)
