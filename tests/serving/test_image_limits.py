from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf

from serving import image_limits
from serving.image_limits import ImageLimitError, check_image
from tests.serving import bad_images, mutated_images
from tests.serving.bad_images import encode

LIMIT = 50_000_000


def rejection(encoded: bytes, limit: int = LIMIT) -> ImageLimitError:
    with pytest.raises(ImageLimitError) as error:
        check_image(encoded, limit)
    return error.value


@pytest.mark.parametrize("kind", bad_images.ACCEPTED)
def test_valid_images_are_accepted(kind: str) -> None:
    encoded = bad_images.ACCEPTED[kind]()
    height, width, _ = tf.io.decode_image(encoded).shape
    assert check_image(encoded, width * height) == width * height


@pytest.mark.parametrize("claiming", [bad_images.png_claiming, bad_images.jpeg_claiming])
def test_the_pixel_limit_is_inclusive(claiming: Callable[[int, int], bytes]) -> None:
    assert check_image(claiming(10_000, 5_000), LIMIT) == LIMIT
    error = rejection(claiming(10_000, 5_001))
    assert error.reason == "too many pixels"
    assert "10,000 × 5,001" in error.detail
    assert "50,000,000" in error.detail


@pytest.mark.parametrize(
    ("encoded", "name"),
    [
        *[(encode(kind), kind) for kind in ("GIF", "BMP")],
        *[(encode("WEBP", lossless=lossless), "WebP") for lossless in (False, True)],
        (bad_images.animation(3), "GIF"),
        *[(start + bytes(20), "JPEG XL") for start in (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")],
    ],
)
def test_other_formats_of_the_decoder_are_rejected(encoded: bytes, name: str) -> None:
    error = rejection(encoded)
    assert (error.reason, error.detail) == ("not a JPEG or PNG", name)


def test_other_bytes_are_left_to_the_model() -> None:
    texts = [
        b"",
        b"text",
        b"BM",
        b"BMW drivers read much longer sentences than this",
        b"GIF89a",
        b"RIFF",
    ]
    truncated = [b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", encode("PNG")[:20], encode("JPEG")[:15]]
    for encoded in (*texts, *truncated, encode("TIFF")):
        assert check_image(encoded, 0) == 0


def _png_and(kind: bytes, contents: bytes) -> bytes:
    huge = bad_images.png_claiming(20_000, 8000)
    return huge[:33] + struct.pack(">I", len(contents)) + kind + contents + bytes(4) + huge[33:]


HUGE_JPEG = bad_images.jpeg_claiming(20_000, 8000)


@pytest.mark.parametrize(
    "encoded",
    [
        _png_and(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21))),
        _png_and(b"tEXt", b"a\0b"),
        *[_png_and(kind, b"1") for kind in (b"pHYs", b"gAMA", b"cHRM", b"acTL", b"fcTL")],
        HUGE_JPEG[:2] + b"\xff\xee\x00\x07Adobe" + HUGE_JPEG[2:],
        HUGE_JPEG[:2] + b"\xff\x01" + HUGE_JPEG[2:],
    ],
)
def test_sizes_that_only_the_tensorflow_decoder_accepts(encoded: bytes) -> None:
    assert "20,000 × 8,000" in rejection(encoded).detail


def test_the_first_chunk_of_a_png_must_be_its_header() -> None:
    encoded = bad_images.png_with_early_chunk(60, 40)
    assert tf.io.decode_image(encoded).shape == (40, 60, 3)  # the decoder finds the header behind it
    assert "IHDR" in rejection(encoded).detail


def test_a_jpeg_with_too_many_segments_is_rejected() -> None:
    encoded = encode("JPEG")
    assert rejection(encoded[:2] + b"\xff\xfe\0\2" * 20_000 + encoded[2:]).reason == "damaged"


def test_the_number_of_scans_is_limited_for_the_size() -> None:
    assert check_image(bad_images.jpeg_with_scans(100), LIMIT) == 2400
    error = rejection(bad_images.jpeg_with_scans(101))
    assert error.reason == "too many scans"
    assert "100" in error.detail

    photograph = bytearray(bad_images.jpeg_with_scans(16))
    frame = photograph.index(b"\xff\xc2") + 5
    struct.pack_into(">HH", photograph, frame, 4000, 6000)
    assert check_image(bytes(photograph), LIMIT) == 24_000_000
    struct.pack_into(">HH", photograph, frame, 5000, 6000)
    assert "13" in rejection(bytes(photograph)).detail


@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_scans_of_any_number_of_components_count(components: int) -> None:
    encoded = encode("JPEG")
    assert check_image(encoded + 99 * bad_images.scan_header(components), LIMIT) == 2400
    assert rejection(encoded + 100 * bad_images.scan_header(components)).reason == "too many scans"


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_the_number_of_compressed_texts_is_limited(kind: bytes) -> None:
    assert check_image(bad_images.png_with_texts(8, kind=kind), LIMIT) == 2400
    assert rejection(bad_images.png_with_texts(9, kind=kind)).reason == "too many compressed texts"


def test_photographs_are_accepted(photographs: Path) -> None:
    for file in sorted(photographs.glob("*/*/*.jpg"))[::10]:
        assert check_image(file.read_bytes(), LIMIT) > 0


def test_whatever_is_accepted_decodes_to_the_size_that_was_checked() -> None:
    decoded = mutated_images.count_decoded(random.Random(4), 1500)
    assert decoded > 200


def test_the_limits_are_what_the_documentation_says() -> None:
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    for limit in (image_limits.MAX_SCANS, image_limits.MAX_COMPRESSED_TEXTS):
        assert f"at most {limit} " in text
    assert f"{image_limits.MAX_SCAN_PIXELS // 10**6} million" in text
