"""Profiles of colours, built here tag by tag: matrices of primaries and one gamma."""

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from stages.sources.colours import BROKEN_PROFILE
from stages.sources.decoding import decode_picture
from tests.unit.sources.test_decoding import encode

PRIMARIES = {
    "Adobe RGB": [
        (0.60974, 0.31111, 0.01947),
        (0.20528, 0.62567, 0.06087),
        (0.14919, 0.06322, 0.74457),
    ],
    "Display P3": [
        (0.51512, 0.24120, -0.00105),
        (0.29198, 0.69225, 0.04189),
        (0.15710, 0.06657, 0.78407),
    ],
}
"""XYZ of red, green and blue, adapted to D50: Adobe RGB (1998) 4.3.6.1, and SMPTE EG 432-1."""
D50 = (0.9642, 1.0, 0.8249)
XYZ_TO_SRGB = np.array(
    [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
)
"""From D50: http://www.brucelindbloom.com/index.html?Eqn_RGB_XYZ_Matrix.html."""
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
COLOURS = [(200, 60, 60), (90, 160, 80), (60, 80, 150), (128, 128, 128), (255, 255, 255), (0, 0, 0)]
"""Within sRGB for each of the profiles, so that nothing is clipped."""


def build_profile(space, gamma, primaries=()):
    """ICC.1:2001-04 of a device whose curves are all a power."""

    def put_xyz(values):
        return b"XYZ \0\0\0\0" + b"".join(struct.pack(">i", round(v * 65536)) for v in values)

    curve = b"curv\0\0\0\0" + struct.pack(">IHH", 1, round(gamma * 256), 0)
    tags = {b"wtpt": put_xyz(D50)}
    if space == b"GRAY":
        tags[b"kTRC"] = curve
    for letter, values in zip("rgb", primaries, strict=False):
        tags |= {f"{letter}XYZ".encode(): put_xyz(values), f"{letter}TRC".encode(): curve}
    first = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        table += name + struct.pack(">II", first + len(body), len(data))
        body += data
    head = struct.pack(
        ">I4sI4s4s4s", first + len(body), bytes(4), 0x02400000, b"mntr", space, b"XYZ "
    )
    head += bytes(12) + b"acsp" + bytes(28) + put_xyz(D50)[8:]
    return head.ljust(128, b"\0") + table + body


def picture():
    return Image.fromarray(np.uint8([COLOURS] * 4).repeat(4, 1))


def show(image, **options):
    decoded, remarks = decode_picture(encode(image, **options), "a.png")
    return np.asarray(decoded, dtype=int)[0, ::4], remarks


def to_srgb(linear):
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("name", PRIMARIES)
def test_a_picture_of_a_wider_space_is_shown_in_its_colours(name):
    profile = build_profile(b"RGB ", 2.2, PRIMARIES[name])
    shown, remarks = show(picture(), icc_profile=profile)
    linear = (np.array(COLOURS) / 255) ** 2.2 @ np.array(PRIMARIES[name])  # XYZ
    expected = to_srgb(linear @ XYZ_TO_SRGB.T)
    assert np.abs(expected - COLOURS).max() > 10
    assert (np.abs(shown - expected).max(), remarks) == (pytest.approx(0, abs=2), [])


@pytest.mark.parametrize("mode", ["L", "LA", "I;16"])
def test_grey_is_shown_in_its_brightness(mode):
    levels = np.arange(0, 256, 17)
    image = Image.fromarray(np.uint8([levels] * 4).repeat(4, 1))
    if mode == "LA":
        image.putalpha(255)
    elif mode == "I;16":
        image = Image.fromarray(np.asarray(image, dtype=np.uint16) * 257)
    shown, remarks = show(image, icc_profile=build_profile(b"GRAY", 1.0))
    assert np.abs(shown[:, 1] - to_srgb(levels / 255)).max() <= 2
    assert remarks == []


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparent_parts_stay_white_whatever_the_profile(mode):
    image = picture()
    image.putalpha(Image.fromarray(np.uint8([[0] * 4 + [255] * 20] * 4)))
    profile = build_profile(b"RGB ", 2.2, PRIMARIES["Adobe RGB"])
    shown, _ = show(image.convert(mode), icc_profile=profile)
    opaque, _ = show(picture(), icc_profile=profile)
    assert shown[0].tolist() == [255, 255, 255]
    assert shown[1:].tolist() == opaque[1:].tolist()


def test_srgb_by_any_name_leaves_the_pixels_as_they_are():
    shown, remarks = show(picture(), icc_profile=SRGB)
    assert (shown.tolist(), remarks) == ([list(colour) for colour in COLOURS], [])


@pytest.mark.parametrize(
    "profile",
    [b"garbage", SRGB[:300], build_profile(b"GRAY", 1.0), build_profile(b"CMYK", 1.0)],
    ids=["garbage", "cut off", "of grey", "of print"],
)
def test_a_profile_that_cannot_be_used_is_told_and_the_pixels_are_as_they_are(profile):
    shown, remarks = show(picture(), icc_profile=profile)
    assert (shown.tolist(), remarks) == ([list(colour) for colour in COLOURS], [BROKEN_PROFILE])


def test_print_colours_with_a_broken_profile_are_told(tmp_path):
    path = tmp_path / "a.tif"
    picture().convert("CMYK").save(path, icc_profile=b"garbage")
    image, remarks = decode_picture(path.read_bytes(), "a.tif")
    assert remarks == [BROKEN_PROFILE]
    assert image.tobytes() == picture().convert("CMYK").convert("RGB").tobytes()


def test_a_picture_without_a_profile_keeps_its_pixels():
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    assert decode_picture(buffer.getvalue(), "a").image.tobytes() == picture().tobytes()
