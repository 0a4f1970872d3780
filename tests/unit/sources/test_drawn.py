import pytest

from stages.config.mistakes import UserError
from stages.sources.drawing.pictures import draw_picture
from stages.sources.opening import open_source
from tests.unit.sources.builders import CLASSES, make_data


def test_drawn_gives_the_photo_look_of_each_class():
    source = open_source(make_data("drawn"), CLASSES)
    last = len(source.entries) - 1
    _, name, seed = source.entries[last].source_id.split("/")
    assert (name, source.entries[last].class_name) == ("dog", "dog")
    assert source.load_image(last) == draw_picture("photo", "dog", int(seed)).image


def test_drawn_names_what_it_cannot_draw_and_what_it_can():
    with pytest.raises(UserError, match=r"cannot draw unicorn; it draws airplane, .*bar chart"):
        open_source(make_data("drawn"), ("cat", "unicorn"))
