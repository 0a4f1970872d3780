import io

import pytest
from PIL import Image

from stages.sources.formats import explain_unreadable


def encode(kind):
    buffer = io.BytesIO()
    Image.effect_noise((64, 64), 50).convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def break_header(data):
    """A PNG whose first checksum is wrong."""
    place = data.index(b"IHDR") + 4 + 13
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.mark.parametrize(
    ("head", "cause"),
    [
        (b"", "empty file"),
        (b"notes on cats, a\xcc\x88", "no picture of a known format"),
        (b"BMW number 1", "no picture of a known format"),
        (bytes(range(100, 200)), "no picture of a known format"),
        (b"\0\0\0\x18ftypheic", "HEIC, which is not read: save it as PNG or JPEG"),
        (b"\xff\x0a123", "JPEG XL, which is not read: save it as PNG or JPEG"),
        (
            b'<?xml version="1.0"?>\n<svg xmlns="x">',
            "SVG, which is not read: save it as PNG or JPEG",
        ),
        (encode("EPS"), "PostScript, which is not read: save it as PNG or JPEG"),
        (encode("ICO"), "ICO, which is not read: save it as PNG or JPEG"),
        (b"\x89HDF\r\n\x1a\n", "HDF5, which is not read: save it as PNG or JPEG"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
            "git-lfs pointer, not the file: run `git lfs pull`",
        ),
        (
            b"/annex/objects/SHA256E-s31390--f50d.jpg\n",
            "git-annex pointer, not the file: run `git annex get .`",
        ),
        (
            b"\n<!DOCTYPE html>\n<html>",
            "web page or a server's answer (HTML, XML), not the file: download it again",
        ),
        (
            b'<?xml version="1.0"?>\n<Error><Code>AccessDenied',
            "web page or a server's answer (HTML, XML), not the file: download it again",
        ),
        (b"PK\3\4", "archive: unpack it"),
        (bytes(257) + b"ustar", "archive: unpack it"),
        (b"PAR1\x15", "parquet file: set data.source to parquet"),
        (encode("AVIF")[:200], "damaged or cut off AVIF: copy or download it again"),
        (encode("TIFF")[:12], "damaged or cut off TIFF: copy or download it again"),
        (break_header(encode("PNG")), "damaged or cut off PNG: copy or download it again"),
    ],
)
def test_what_a_file_is_that_is_not_read_is_said_with_what_to_do(head, cause):
    assert str(explain_unreadable(head)) == cause
