"""Validation of images and their measured properties."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from components.image_example_gen.inspection import inspect
from components.image_example_gen.sources.base import ImageRejected
from tests.serving import bad_images

MakeImage = Callable[..., bytes]
MANY = 1_000_000


def decodable(data: bytes) -> bool:
    try:
        tf.io.decode_image(data, channels=3, expand_animations=False)
    except tf.errors.OpError:
        return False
    return True


@pytest.mark.parametrize("how", [{}, {"progressive": True}, {"quality": 5}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpegs_are_accepted(make_image: MakeImage, mode: str, how: dict[str, Any]) -> None:
    data = make_image(1, "JPEG", mode, size=(48, 40), **how)
    properties = inspect(data, MANY)
    assert (properties.format, properties.mode, properties.width, properties.height) == ("jpeg", mode, 48, 40)
    assert decodable(data)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1", "I;16"])
def test_pngs_are_accepted(make_image: MakeImage, mode: str) -> None:
    data = make_image(1, "PNG", mode, size=(48, 40))
    properties = inspect(data, MANY)
    assert (properties.format, properties.mode, properties.width, properties.height) == ("png", mode, 48, 40)
    assert decodable(data)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WebP", "TIFF", "PDF"])
def test_other_formats_are_rejected(make_image: MakeImage, kind: str) -> None:
    with pytest.raises(ImageRejected) as rejection:
        inspect(make_image(1, kind), MANY)
    assert (rejection.value.reason, rejection.value.detail) == ("not a JPEG or PNG", kind)


@pytest.mark.parametrize(
    ("data", "reason", "detail"),
    [
        (b"", "empty file", ""),
        (b"Cats are better than dogs.", "not a JPEG or PNG", "text"),
        (b"\x00\x00\x00\x18ftypheic" + bytes(99), "not a JPEG or PNG", "HEIC, AVIF or a video"),
        (b"PK\x03\x04" + bytes(99), "not a JPEG or PNG", "ZIP"),
        (b"\x80" * 99, "not a JPEG or PNG", "unknown contents"),
    ],
    ids=["empty", "text", "heic", "zip", "noise"],
)
def test_other_files_are_rejected(data: bytes, reason: str, detail: str) -> None:
    with pytest.raises(ImageRejected) as rejection:
        inspect(data, MANY)
    assert (rejection.value.reason, rejection.value.detail) == (reason, detail)


def test_animation_is_rejected(make_image: MakeImage) -> None:
    from io import BytesIO

    from PIL import Image

    frames = [Image.open(BytesIO(make_image(index, "PNG"))) for index in (1, 2)]
    buffer = BytesIO()
    frames[0].save(buffer, "PNG", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageRejected, match="animated"):
        inspect(buffer.getvalue(), MANY)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("length", [10, 30, 200, 0.5, 0.9, 0.99])
def test_truncated_images_are_rejected(make_image: MakeImage, kind: str, length: float) -> None:
    data = make_image(1, kind, size=(200, 150))
    with pytest.raises(ImageRejected) as rejection:
        inspect(data[: length if isinstance(length, int) else int(len(data) * length)], MANY)
    assert rejection.value.reason == "damaged"
    assert rejection.value.detail


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_accepted_images_can_be_decoded(make_image: MakeImage, kind: str) -> None:
    """Every accepted image can be decoded."""
    generator = random.Random(0)
    whole = make_image(1, kind, size=(64, 48))
    accepted = 0
    for _ in range(150):
        data = bytearray(whole)
        at = generator.randrange(2, len(data))
        if generator.random() < 0.5:
            data[at] ^= 1 << generator.randrange(8)
        else:
            del data[at : at + 20]
        try:
            inspect(bytes(data), MANY)
        except ImageRejected:
            continue
        accepted += 1
        assert decodable(bytes(data))
    assert accepted < 150
    assert accepted > 0 or kind == "PNG"  # a PNG has checksums everywhere


def test_size_is_checked_before_decoding(make_image: MakeImage) -> None:
    """A few bytes that claim to be 50,000 × 50,000 pixels: decoding them would take 7.5 GB."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    jpeg = bytearray(make_image(1))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 50_000, 50_000)
    for data in (bomb, bytes(jpeg)):
        with pytest.raises(ImageRejected) as rejection:
            inspect(data, 50_000_000)
        assert rejection.value.reason == "too many pixels"
        assert "50,000 × 50,000" in rejection.value.detail
        assert "50,000,000" in rejection.value.detail


@pytest.mark.parametrize(
    ("accepted", "rejected", "reason"),
    [
        (bad_images.png_claiming(60, 40), bad_images.png_with_early_chunk(60, 40), "damaged"),
        (bad_images.jpeg_with_scans(100), bad_images.jpeg_with_scans(101), "too many scans"),
        (bad_images.png_with_texts(8), bad_images.png_with_texts(9), "too many compressed texts"),
    ],
)
def test_images_that_are_slow_to_decode_are_rejected(accepted: bytes, rejected: bytes, reason: str) -> None:
    assert inspect(accepted, MANY).width == 60
    with pytest.raises(ImageRejected) as rejection:
        inspect(rejected, MANY)
    assert rejection.value.reason == reason
    assert rejection.value.detail


def test_pixel_limit_is_inclusive(make_image: MakeImage) -> None:
    data = make_image(1, size=(40, 35))
    assert inspect(data, 1400).width == 40
    with pytest.raises(ImageRejected, match="too many pixels"):
        inspect(data, 1399)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize(("level", "brightness"), [(0, 0.0), (128, 0.502), (255, 1.0)])
def test_brightness_of_plain_images(kind: str, level: int, brightness: float) -> None:
    properties = inspect(plain(np.full((100, 120, 3), level, np.uint8), kind), MANY)
    assert properties.brightness == pytest.approx(brightness, abs=0.01)
    assert properties.contrast == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_contrast_of_a_image_half_black_half_white(kind: str) -> None:
    halves = np.zeros((128, 128, 3), np.uint8)
    halves[:, 64:] = 255
    properties = inspect(plain(halves, kind), MANY)
    assert properties.brightness == pytest.approx(0.5, abs=0.02)
    assert properties.contrast == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_small_and_narrow_images(make_image: MakeImage, kind: str) -> None:
    for size in ((32, 32), (33, 500), (500, 32)):
        properties = inspect(make_image(1, kind, size=size), MANY)
        assert (properties.width, properties.height) == size
    for size in ((4, 4), (31, 500), (500, 31)):
        with pytest.raises(ImageRejected) as rejection:
            inspect(make_image(1, kind, size=size), MANY)
        assert (rejection.value.reason, rejection.value.detail) == (
            "smaller than 32 pixels",
            f"{size[0]} × {size[1]}",
        )


def plain(pixels: np.ndarray, kind: str) -> bytes:
    encode = tf.io.encode_jpeg if kind == "JPEG" else tf.io.encode_png
    data: bytes = encode(pixels).numpy()
    return data
