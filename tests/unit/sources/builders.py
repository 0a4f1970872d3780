"""Builders of what the tests of the sources share."""

from PIL import Image

from stages.config.params import DataParams

CLASSES = ("cat", "dog")


def make_data(source, root=None, **columns):
    names = ("image_column", "label_column", "caption_column")
    return DataParams(source=source, root=root and str(root), **dict.fromkeys(names) | columns)


def make_picture(value):
    """Of a level of grey, but for its last pixel: a picture of one colour is told."""
    image = Image.new("RGB", (4, 4), (value, value, value))
    image.putpixel((3, 3), (255 - value, 0, 0))
    return image
