from pathlib import Path
from typing import get_args

import pytest

from stages.config.mistakes import UserError
from stages.config.params import Method, Params, UnetMethod, load_params
from stages.files.taught import Taught, name_taught, read_taught, write_taught

CHANGES = {
    "source": "imagefolder",
    "root": "frogs",
    "num_pictures": 3,
    "num_held_out_pictures": 2,
    "seed": 5,
    "class_name": "dog",
    "placeholder": "<my-dog>",
    "initializer": "dog",
    "identifier": "xyz",
    "caption_templates": ("the {}",),
    "prior_loss_weight": 0.5,
    "num_prior_pictures": 3,
}


def make_params(method: str, data: str = "pairs", **subject: object) -> Params:
    params = load_params()
    changed = {
        "finetune": params.finetune.model_copy(update={"method": method, "data": data}),
        "subject": params.subject.model_copy(update=subject),
    }
    return params.model_copy(update=changed)


@pytest.mark.parametrize("method", get_args(UnetMethod))
def test_for_pairs_no_change_of_the_subject_changes_a_byte(method: str, tmp_path: Path) -> None:
    path = tmp_path / "subject.json"
    write_taught(name_taught(make_params("attn2")), path)
    before = path.read_bytes()
    assert read_taught(path) is None
    assert set(CHANGES) == set(load_params().subject.model_dump())
    write_taught(name_taught(make_params(method, **CHANGES)), path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("method", get_args(Method))
def test_what_is_taught_comes_back(method: str, tmp_path: Path) -> None:
    path = tmp_path / "subject.json"
    params = make_params(method, "subject", **CHANGES)
    write_taught(name_taught(params), path)
    assert read_taught(path) == Taught(method == "textual_inversion", params.subject)


def test_an_imported_word_is_taught_under_the_placeholder(tmp_path: Path) -> None:
    path = tmp_path / "subject.json"
    params = make_params("import")
    write_taught(name_taught(params, imports_word=True), path, "abc")
    taught = read_taught(path)
    assert taught == Taught(True, params.subject)
    assert taught.learned == params.subject.placeholder


def test_other_imports_leave_their_digest_alone(tmp_path: Path) -> None:
    path = tmp_path / "subject.json"
    texts = []
    for digest in ("abc", "abd"):
        write_taught(name_taught(make_params("import")), path, digest)
        assert read_taught(path) is None
        texts.append(path.read_text())
    assert "abc" in texts[0]
    assert texts[0] != texts[1]


def test_the_learned_name_is_the_new_word_or_a_rare_one_before_the_class() -> None:
    subject = load_params().subject
    assert Taught(True, subject).learned == "<my-frog>"
    assert Taught(False, subject).learned == "sks frog"


def test_captions_of_the_class_do_not_name_the_subject() -> None:
    captions = Taught(False, make_params("full", class_name="owl").subject)
    assert captions.class_captions[0] == "a photo of an owl"
    assert len(captions.class_captions) == 4


def test_a_missing_file_names_the_stage_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run `dvc repro preflight`"):
        read_taught(tmp_path / "subject.json")
