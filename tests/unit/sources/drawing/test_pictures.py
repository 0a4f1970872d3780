import numpy as np
import pytest

from stages.config.mistakes import UserError
from stages.sources.drawing.canvas import COLOURS
from stages.sources.drawing.pictures import LOOKS, SIZE_PX, draw_picture
from stages.sources.drawing.settings import SETTINGS
from stages.sources.drawing.things import CLASS_NAMES, THINGS


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize("name", THINGS)
def test_picture_is_a_pure_function_of_look_thing_and_seed(look, name):
    first, again, other = (draw_picture(look, name, seed) for seed in (7, 7, 8))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.caption == again.caption
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("look", LOOKS)
def test_picture_has_the_size_of_its_look(look):
    assert draw_picture(look, "cat", 0).image.size == (SIZE_PX[look],) * 2


def test_sixteen_things_of_which_ten_are_cifar10_classes_in_its_order():
    assert (
        *("airplane", "automobile", "bird", "cat", "deer"),
        *("dog", "frog", "horse", "ship", "truck"),
    ) == CLASS_NAMES
    assert len(THINGS) == 16


@pytest.mark.parametrize("name", THINGS)
def test_caption_words_are_true_of_the_picture(name):
    phrases = {setting: words for setting, (words, _) in SETTINGS.items()}
    for seed in range(40):
        picture = draw_picture("illustration", name, seed)
        assert name in picture.caption
        named = [colour for colour in COLOURS if f"{colour} {name}" in picture.caption]
        assert named in ([], [picture.colour])
        said = [setting for setting, words in phrases.items() if words in picture.caption]
        # A white background is a plain one too.
        assert said in ([], [picture.setting], ["plain"] if picture.setting == "white" else [])


@pytest.mark.parametrize("name", [name for name, thing in THINGS.items() if thing.colours])
def test_colour_changes_the_picture(name):
    means = {}
    for seed in range(60):
        picture = draw_picture("illustration", name, seed)
        if picture.setting == "white":
            pixels = np.asarray(picture.image, dtype=float)
            means.setdefault(picture.colour, pixels.mean(axis=(0, 1)))
    distinct = {tuple(mean.round(3)) for mean in means.values()}
    assert len(distinct) == len(means) >= 1


def test_photo_look_is_less_colourful_than_illustration():
    def measure_saturation(look: str) -> float:
        images = [draw_picture(look, name, 3).image for name in CLASS_NAMES]
        return float(np.mean([np.ptp(np.asarray(i, dtype=float), axis=2).mean() for i in images]))

    assert measure_saturation("photo") < measure_saturation("illustration")


@pytest.mark.parametrize(("look", "name"), [("photo", "zebra"), ("sketch", "cat")])
def test_what_cannot_be_drawn_is_named(look, name):
    with pytest.raises(UserError, match="cannot draw"):
        draw_picture(look, name, 0)
