"""Pictures as cameras, editors and tools leave them, a few hundred bytes each."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from stages.config.mistakes import UserError
from stages.sources.decoding import decode_picture
from stages.sources.formats import FORMATS

TURNED = (0x112, 3, 1, struct.pack("<HH", 6, 0))
BEHIND = struct.pack("<L", 8 + 2 + 2 * 12 + 4)
LYING = Image.fromarray(
    np.tile(np.uint8([[[250] * 3] * 12, [[10] * 3] * 12]).repeat(4, 0), (1, 1, 1))
)
"""12 x 8 px, the upper half white."""


def encode(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def build_exif(entries, values=b""):
    """TIFF of one directory: tag, type, count, value or offset of each; then the long values."""
    directory = b"".join(struct.pack("<HHL", *entry[:3]) + entry[3] for entry in entries)
    head = b"Exif\0\0II*\0" + struct.pack("<LH", 8, len(entries))
    return head + directory + bytes(4) + values


EXIF = {
    "turned": (build_exif([TURNED]), True, []),
    "text for a number": (build_exif([TURNED, (0x11A, 2, 4, b"72\0\0")]), True, ["damaged"]),
    "-1 / 0": (
        build_exif([TURNED, (0x11A, 10, 1, BEHIND)], struct.pack("<ll", -1, 0)),
        True,
        ["damaged"],
    ),
    "past the end": (
        build_exif([TURNED, (0x11A, 5, 1, struct.pack("<L", 1 << 20))]),
        True,
        ["damaged"],
    ),
    "orientation 9": (build_exif([(0x112, 3, 1, struct.pack("<HH", 9, 0))]), False, ["damaged"]),
    "no TIFF": (b"Exif\0\0garbage", False, ["damaged"]),
    "none": (b"", False, []),
}


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("name", EXIF)
def test_pictures_are_used_upright_whatever_their_exif_is(name, kind):
    exif, is_turned, remarks = EXIF[name]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image, found = decode_picture(encode(LYING, kind, exif=exif), "a")
    assert image.size == ((8, 12) if is_turned else (12, 8))
    light = image.crop((4, 0, 8, 12)) if is_turned else image.crop((0, 0, 12, 4))
    assert np.asarray(light).mean() > 200  # what was above is at the right after a turn
    assert [remark.split()[0] for remark in found] == remarks


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_are_known_by_their_content(kind):
    drawn = Image.new("RGB", (32, 16), (200, 30, 90))
    drawn.paste((20, 20, 20), (16, 0, 32, 16))
    image, remarks = decode_picture(encode(drawn, kind), "a.xyz")
    assert (image.mode, remarks) == ("RGB", [])
    assert np.abs(np.asarray(image).astype(int)[:, :14] - (200, 30, 90)).max() <= 6


def test_sixteen_bits_are_scaled_and_not_clipped():
    levels = np.uint16([[0, 257, 128 * 257, 65535]] * 4)
    image, _ = decode_picture(encode(Image.fromarray(levels)), "a")
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 128, 255]
    image, _ = decode_picture(encode(Image.fromarray(levels), "TIFF"), "a")
    assert np.asarray(image)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize(("mode", "kind"), [("CMYK", "JPEG"), ("CMYK", "TIFF"), ("LAB", "TIFF")])
def test_print_colours_are_shown_as_colours(mode, kind):
    red = Image.new("RGB", (16, 16), (220, 30, 30))
    srgb = ImageCms.createProfile("sRGB")
    if mode == "LAB":
        red = ImageCms.profileToProfile(red, srgb, ImageCms.createProfile("LAB"), outputMode="LAB")
    image, _ = decode_picture(encode(red.convert(mode) if mode == "CMYK" else red, kind), "a")
    assert np.abs(np.asarray(image).astype(int) - (220, 30, 30)).max() <= 8


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    image = Image.new("RGBA", (8, 8), (0, 0, 0, 0)).convert(mode)
    decoded, _ = decode_picture(encode(image), "a")
    assert decoded.getpixel((0, 0)) == (255, 255, 255)


def build_png(depth, kind, row, key):
    """Four equal rows of four pixels; `key` is the colour that is transparent."""
    head = struct.pack(">LLBBBBB", 4, 4, depth, kind, 0, 0, 0)
    body = zlib.compress((b"\0" + row) * 4)
    chunks = [(b"IHDR", head), (b"tRNS", key), (b"IDAT", body), (b"IEND", b"")]
    parts = [
        struct.pack(">L", len(d)) + k + d + struct.pack(">L", zlib.crc32(k + d)) for k, d in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize(
    ("depth", "kind", "row", "key", "expected"),
    [
        (1, 0, b"\x50", b"\0\0", [255, 255, 255, 255]),
        (2, 0, b"\x1b", b"\0\1", [0, 255, 170, 255]),
        (4, 0, b"\x01\x23", b"\0\2", [0, 17, 255, 51]),
        (8, 0, b"\0\x10\x20\x30", b"\0\x20", [0, 16, 255, 48]),
        (16, 0, b"\x10\0\x10\1\x20\0\x30\0", b"\x10\1", [16, 255, 32, 48]),
        (8, 2, b"\1\1\1\2\2\2\3\3\3\4\4\4", b"\0\2" * 3, [1, 255, 3, 4]),
        (16, 2, b"\1\0" * 3 + b"\2\7" * 3 + b"\3\0" * 6, b"\2\7" * 3, [1, 255, 3, 3]),
    ],
)
def test_the_transparent_colour_of_a_png_is_white_at_any_depth(depth, kind, row, key, expected):
    image, _ = decode_picture(build_png(depth, kind, row, key), "a")
    assert [image.getpixel((x, 0)) for x in range(4)] == [(level,) * 3 for level in expected]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"no picture", "no picture of a known format; replace it, or take it out"),
        (b"\0\0\0\x18ftypheic", "HEIC, which is not read; save it as PNG or JPEG, or take it out"),
        (encode(LYING)[:-30], "not a whole picture"),
        (encode(Image.new("RGB", (1, 1))), "1 x 1 px; a picture should have 4 px a side or more"),
        (encode(Image.new("RGB", (3, 2400))), "3 x 2400 px; .* at most 16 times as long as wide"),
        (encode(Image.new("F", (8, 8)), "TIFF"), "floating-point brightness; save it with 8 or 16"),
        (encode(Image.new("1", (15_000, 15_000))), "225,000,000 pixels; at most 178,956,970"),
    ],
)  # fmt: skip
def test_what_is_not_taken_is_named_with_what_to_do(data, message):
    with pytest.raises(UserError, match=rf"^some/file\.png: .*{message}") as caught:
        decode_picture(data, "some/file.png")
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken_and_said_unless_it_is_blank(kind):
    blank = Image.new("RGB", (12, 8), "white")
    image, remarks = decode_picture(encode(LYING, kind, save_all=True, append_images=[blank]), "a")
    assert remarks == ["animation: its first frame is taken"]
    assert np.asarray(image)[:4].mean() > 200 > np.asarray(image)[4:].mean()
    with pytest.raises(UserError, match=r"a: the first of 2 frames is blank; save the frame"):
        decode_picture(encode(blank, kind, save_all=True, append_images=[LYING]), "a")


def test_a_file_that_opens_at_its_thumbnail_is_refused():
    thumbnail = LYING.resize((6, 4))
    pages = encode(thumbnail, "TIFF", save_all=True, append_images=[LYING])
    with pytest.raises(UserError, match="a: opens at 6 x 4 px, but page 2 has 12 x 8; save"):
        decode_picture(pages, "a")
    _, remarks = decode_picture(encode(LYING, "TIFF", save_all=True, append_images=[LYING]), "a")
    assert remarks == ["2 pages: the first is taken"]


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (Image.new("RGB", (8, 8), (90, 90, 80)), "one colour all over"),
        (Image.new("L", (8, 8), 7), "one colour all over"),
        (Image.merge("RGBA", [*LYING.split(), Image.new("L", LYING.size)]), "wholly transparent"),
    ],
)
def test_a_picture_on_which_nothing_is_to_be_seen_is_told(image, what):
    assert decode_picture(encode(image), "a").remarks == [f"{what}: nothing to see"]


@pytest.mark.parametrize("is_compressed", [True, False])
def test_a_picture_is_read_whatever_text_is_in_it_up_to_what_pillow_holds(is_compressed):
    def read(size):
        text = PngInfo()
        text.add_text("workflow", "x" * size, zip=is_compressed)
        return decode_picture(encode(LYING, pnginfo=text), "a.png")

    assert read(2 << 20).image.tobytes() == LYING.tobytes()
    with pytest.raises(UserError, match=r"^a\.png: more than 67,108,864 bytes of text; save it w"):
        read((64 << 20) + 1)
