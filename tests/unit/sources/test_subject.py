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


def test_captions_beside_the_pictures_are_told_as_not_used(tmp_path):
    subject = make_folder(tmp_path, ["a.png"])
    for name in ("a.txt", "metadata.csv"):
        (tmp_path / name).write_text("a toy")
    reason = "captions, not used: a subject's are made of subject.caption_templates"
    notes = open_subject(subject, LEARNED).notes
    assert dict(notes) == dict.fromkeys(["a.txt", "metadata.csv"], reason)


def test_drawn_pictures_are_as_many_as_can_be_asked_for():
    source = open_subject(make_subject(source="drawn", root=None), LEARNED)
    assert len(source.entries) == NUM_DRAWN
    assert {entry.class_name for entry in source.entries} == {LEARNED}
    assert source.load_image(7) == draw_red_frog_picture(7)
    train, held_out = choose_subject(source, 100, 100, seed=0)
    assert sorted([*train, *held_out]) == list(range(NUM_DRAWN))


def test_a_missing_folder_is_named(tmp_path):
    subject = make_subject(source="imagefolder", root=str(tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"^subject\.root: no folder .*nowhere; set it to one"):
        open_subject(subject, LEARNED)


def test_too_few_pictures_are_counted(tmp_path):
    subject = make_folder(tmp_path, ["a.png", "b/c.png", "d.png"])
    message = (
        r"^subject\.root: /.*: too few pictures for subject\.num_pictures \+ "
        r"subject\.num_held_out_pictures: it has 3 pictures and needs 2 \+ 2; "
        r"subject\.num_pictures 1 with subject\.num_held_out_pictures 2 would work$"
    )
    with pytest.raises(UserError, match=message):
        choose_subject(open_subject(subject, LEARNED), 2, 2, seed=0)


def test_too_few_pictures_for_any_numbers_are_told_to_be_added(tmp_path):
    subject = make_folder(tmp_path, ["a.png"])
    with pytest.raises(UserError, match=r"it has 1 picture and needs 2 \+ 2; add pictures$"):
        choose_subject(open_subject(subject, LEARNED), 2, 2, seed=0)


def test_no_picture_is_both_trained_on_and_held_out_and_the_seed_says_which(tmp_path):
    subject = make_folder(tmp_path, [f"{number}.png" for number in range(9)])
    source = open_subject(subject, LEARNED)
    train, held_out = choice = choose_subject(source, 5, 3, seed=0)
    assert (len(train), len(held_out), len({*train, *held_out})) == (5, 3, 8)
    assert choose_subject(source, 5, 3, seed=0) == choice
    assert choose_subject(source, 5, 3, seed=1) != choice


def test_held_out_pictures_do_not_depend_on_how_many_are_trained_on():
    source = open_subject(make_subject(), LEARNED)
    few, many = (choose_subject(source, count, 8, seed=0) for count in (4, 16))
    assert few.validation == many.validation
    assert many.train[:4] == few.train
