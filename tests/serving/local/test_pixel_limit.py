from __future__ import annotations

import contextlib
import random
import struct
import threading
import time
import zlib
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from serving.local.pixel_limit import PixelLimiter
from serving.local.status import StatusError
from tests.serving import bad_images
from tests.serving.bad_images import encode

LIMIT = 50_000_000


class Model:
    """A fake servable that records its number of concurrent runs."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.runs = 0

    def run(self, *_: object) -> dict[str, np.ndarray]:
        self.runs += 1
        assert self.gate.wait(20)
        return {}


def check(*values: bytes, limit: int = LIMIT) -> None:
    """Runs a batch of strings on a fake model."""
    model = Model()
    PixelLimiter(limit).run(model, "", {"image_bytes": np.array(values, object)}, ())  # type: ignore[arg-type]
    assert model.runs == 1


def rejection(*values: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(StatusError) as error:
        check(*values, limit=limit)
    assert error.value.http_status == 400
    return error.value.message


def example(encoded: bytes) -> bytes:
    built = tf.train.Example()
    built.features.feature["image/class/label"].int64_list.value.append(1)
    built.features.feature["image/encoded"].bytes_list.value.append(encoded)
    return built.SerializeToString()


@pytest.mark.parametrize("kind", bad_images.ACCEPTED)
def test_accepts_valid_images(kind: str) -> None:
    check(bad_images.ACCEPTED[kind]())


@pytest.mark.parametrize("huge", [bad_images.png_claiming, bad_images.jpeg_claiming])
def test_rejects_a_huge_image(huge: Callable[[int, int], bytes]) -> None:
    for hidden in (huge(50_000, 40_000), example(huge(50_000, 40_000))):
        message = rejection(encode("PNG"), hidden)
        assert "50000×40000" in message
        assert "50000000" in message


@pytest.mark.parametrize("how", [{"kind": "BMP"}, {"kind": "WEBP"}, {"kind": "WEBP", "lossless": True}])
def test_reads_the_size_of_every_format(how: dict) -> None:
    encoded = encode(size=(321, 65), **how)
    check(encoded, limit=321 * 65)
    assert "321×65" in rejection(encoded, limit=321 * 65 - 1)


def test_accepts_exactly_the_limit_and_counts_all_frames_of_a_gif() -> None:
    check(bad_images.png_claiming(10_000, 5_000))
    assert "10000×5001" in rejection(bad_images.png_claiming(10_000, 5_001))
    check(bad_images.animation(30), limit=60 * 40 * 30)
    assert "60×40×30" in rejection(bad_images.animation(30), limit=60 * 40 * 29)


@pytest.mark.parametrize("start", [b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_rejects_jpeg_xl(start: bytes) -> None:
    assert "JPEG XL" in rejection(start + bytes(100))


def _png_and(kind: bytes, contents: bytes) -> bytes:
    huge = bad_images.png_claiming(20_000, 8000)
    return huge[:33] + struct.pack(">I", len(contents)) + kind + contents + bytes(4) + huge[33:]


def _bmp_claiming(header: int, compression: int = 0) -> bytes:
    encoded = bytearray(encode("BMP"))
    struct.pack_into("<Iii", encoded, 14, header, 20_000, 8000)
    struct.pack_into("<I", encoded, 30, compression)
    return bytes(encoded)


HUGE_JPEG = bad_images.jpeg_claiming(20_000, 8000)


@pytest.mark.parametrize(
    "encoded",
    [
        _png_and(b"zTXt", b"a\0\0" + zlib.compress(bytes(2**21))),
        _png_and(b"tEXt", b"a\0b"),
        *[_png_and(kind, b"1") for kind in (b"pHYs", b"gAMA", b"cHRM", b"acTL", b"fcTL")],
        HUGE_JPEG[:2] + b"\xff\xee\x00\x07Adobe" + HUGE_JPEG[2:],
        HUGE_JPEG[:2] + b"\xff\x01" + HUGE_JPEG[2:],
        _bmp_claiming(41),
        _bmp_claiming(12),
        _bmp_claiming(40, compression=9),
        b"BM" + bytes(77) + example(bad_images.png_claiming(20_000, 8000)),
    ],
)
def test_reads_sizes_that_only_the_tensorflow_decoder_accepts(encoded: bytes) -> None:
    assert "20000×8000" in rejection(encoded)


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x89PNG\r\n\x1a\n\0\0\0\1tEXta" + encode("PNG")[8:],
        b"GIF89a" + bytes(7) + b"!\xff" + b"\x01a" * 600_000,
    ],
)
def test_rejects_an_image_without_a_size_or_with_too_many_segments(encoded: bytes) -> None:
    rejection(encoded)


def test_leaves_other_bytes_to_the_model() -> None:
    check(b"", b"text", b"\n\xff\xff no example", b"\xff\xd8\xff", b"GIF89a", b"BM", encode("TIFF"))
    numbers = {"x": np.ones((2, 2)), "s": np.array(b"a")}
    PixelLimiter(0).run(Model(), "", numbers, ())  # type: ignore[arg-type]


def test_damaged_images_raise_no_other_error() -> None:
    chance = random.Random(4)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        whole = encode(kind, size=(80, 50))
        for _ in range(100):
            damaged = bytearray(whole[: chance.randrange(len(whole))])
            for _ in range(min(len(damaged), 8)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            with contextlib.suppress(StatusError):  # a random size may exceed the limit
                check(bytes(damaged))


def test_batches_wait_for_their_pixel_budget() -> None:
    bound, model = PixelLimiter(10_000), Model()
    model.gate.clear()

    def batch(image_count: int) -> threading.Thread:
        images = np.array([encode("PNG", size=(100, 100))] * image_count, object)
        thread = threading.Thread(target=bound.run, args=(model, "", {"x": images}, ()))
        thread.start()
        return thread

    threads = [batch(3)]
    until = time.monotonic() + 20
    while model.runs < 1 and time.monotonic() < until:
        time.sleep(0.01)
    threads += [batch(2), batch(9)]  # over the remaining budget; over the whole budget
    time.sleep(0.3)
    assert model.runs == 1
    model.gate.set()
    for thread in threads:
        thread.join(20)
    assert model.runs == 3


def test_reads_the_size_of_a_top_down_bmp() -> None:
    encoded = bytearray(encode("BMP"))
    struct.pack_into("<i", encoded, 22, -40)
    assert "60×40" in rejection(bytes(encoded), limit=60 * 40 - 1)
