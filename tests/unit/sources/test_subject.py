import pytest

from stages.config.mistakes import UserError
from stages.config.params import load_params
from stages.sources.drawing.red_frog import draw_red_frog_picture
from stages.sources.subject import NUM_DRAWN, choose_subject, open_subject
from tests.unit.sources.builders import make_picture

LEARNED = "<my-frog>"


def make_subject(**changes):
    return load_params().subject.model_copy(update=changes)


def make_folder(root, names):
    for value, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        make_picture(value).save(root / name)
    return make_subject(source="imagefolder", root=str(root))


def test_pictures_lie_at_any_depth_and_other_files_are_none(tmp_path):
    subject = make_folder(tmp_path, ["b/c/deep.png", "a.BMP", "b/one.webp"])
    (tmp_path / "b/notes.txt").write_text("not a picture")
    source = open_subject(subject, LEARNED)
    assert [entry.source_id for entry in source.entries] == ["a.BMP", "b/c/deep.png", "b/one.webp"]
    assert {entry.class_name for entry in source.entries} == {LEARNED}
    assert {entry.caption for entry in source.entries} == {None}
    assert source.load_image(1) == make_picture(0)


def test_drawn_pictures_are_as_many_as_can_be_asked_for():
    source = open_subject(make_subject(source="drawn", root=None), LEARNED)
    assert len(source.entries) == NUM_DRAWN
    assert {entry.class_name for entry in source.entries} == {LEARNED}
    assert source.load_image(7) == draw_red_frog_picture(7)
    asked = make_subject(num_pictures=100, num_held_out_pictures=100)
    train, held_out = choose_subject(source, asked)
    assert sorted([*train, *held_out]) == list(range(NUM_DRAWN))


def test_a_missing_folder_is_named(tmp_path):
    subject = make_subject(source="imagefolder", root=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"^subject\.root: no folder .*nowhere; set it to one"):
        open_subject(subject, LEARNED)


def test_too_few_pictures_are_counted(tmp_path):
    subject = make_folder(tmp_path, ["a.png", "b/c.png", "d.png"])
    wanted = subject.model_copy(update={"num_pictures": 2, "num_held_out_pictures": 2})
    with pytest.raises(UserError, match=r"has 3 pictures; num_pictures .* are 4; add pictures"):
        choose_subject(open_subject(wanted, LEARNED), wanted)


def test_no_picture_is_both_trained_on_and_held_out_and_the_seed_says_which(tmp_path):
    subject = make_folder(tmp_path, [f"{number}.png" for number in range(9)])
    subject = subject.model_copy(update={"num_pictures": 5, "num_held_out_pictures": 3})
    source = open_subject(subject, LEARNED)
    train, held_out = choice = choose_subject(source, subject)
    assert (len(train), len(held_out), len({*train, *held_out})) == (5, 3, 8)
    assert choose_subject(source, subject) == choice
    assert choose_subject(source, subject.model_copy(update={"seed": 1})) != choice
