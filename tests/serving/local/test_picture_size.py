from __future__ import annotations

import contextlib
import random
import struct
import time

import pytest

from serving.local.picture_size import Size, Unmeasurable, measure
from tests.serving import bad_pictures
from tests.serving.bad_pictures import encode

KINDS: dict[str, dict] = {
    "JPEG": {},
    "progressive JPEG": {"kind": "JPEG", "progressive": True},
    "JPEG with metadata": {"kind": "JPEG", "exif": b"Exif\0\0" + bytes(30_000), "icc_profile": bytes(90_000)},
    "PNG": {},
    "GIF": {"mode": "P"},
    "BMP": {},
    "WebP": {"kind": "WEBP"},
    "WebP with alpha": {"kind": "WEBP", "mode": "RGBA", "exif": b"Exif\0\0"},
    "lossless WebP": {"kind": "WEBP", "lossless": True},
}


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("size", [(1, 1), (321, 65), (64, 3000)])
def test_the_size_is_read_from_the_header(name: str, size: tuple[int, int]) -> None:
    assert measure(encode(**{"kind": name, "size": size, **KINDS[name]})) == Size(*size)


@pytest.mark.parametrize("kind", ["GIF", "WEBP"])
def test_animations_have_the_size_of_their_canvas(kind: str) -> None:
    size = measure(bad_pictures.animation(5, (300, 200), kind))
    assert size is not None
    assert (size.width, size.height) == (300, 200)


def test_all_frames_of_a_gif_count() -> None:
    size = measure(bad_pictures.animation(5, (300, 200)))
    assert size == Size(300, 200, 5)
    assert size.pixels == 300 * 200 * 5
    assert str(size) == "300×200×5 frames"


def test_a_gif_with_a_small_canvas_and_a_large_frame_is_large() -> None:
    encoded = bytearray(encode("GIF", "P"))
    at = encoded.index(b",\0\0\0\0")
    struct.pack_into("<HH", encoded, at + 5, 50_000, 40_000)
    assert measure(bytes(encoded)) == Size(50_000, 40_000)


def test_the_largest_of_several_jpeg_headers_counts() -> None:
    small, large = encode("JPEG"), bad_pictures.jpeg_that_says(40_000, 30_000)
    at = small.index(b"\xff\xc0")
    frame = large[large.index(b"\xff\xc0") :][:19]
    for doubled in (small[:at] + frame + small[at:], small[: at + 19] + frame + small[at + 19 :]):
        assert measure(doubled) == Size(40_000, 30_000)


def test_filling_and_rubbish_between_jpeg_markers_are_passed_over_as_by_the_decoder() -> None:
    encoded = bad_pictures.jpeg_that_says(40_000, 30_000)
    assert measure(encoded[:2] + b"\xff\xff\xff\x00rubbish\xff\x00" + encoded[2:]) == Size(40_000, 30_000)


def test_a_bmp_from_the_top_down_has_a_size() -> None:
    encoded = bytearray(encode("BMP"))
    struct.pack_into("<i", encoded, 22, -40)
    assert measure(bytes(encoded)) == Size(60, 40)


@pytest.mark.parametrize("encoded", [b"", b"text", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM"])
def test_what_has_no_size_has_none(encoded: bytes) -> None:
    assert measure(encoded) is None


@pytest.mark.parametrize("kind", ["TIFF", "ICO", "PPM", "TGA"])
def test_other_formats_are_not_looked_at(kind: str) -> None:
    assert measure(encode(kind)) is None


def test_hostile_bytes_do_no_harm() -> None:
    chance = random.Random(4)
    for kind in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        whole = encode(kind, size=(80, 50))
        for _ in range(400):
            damaged = bytearray(whole[: chance.randrange(len(whole))])
            for _ in range(min(len(damaged), 8)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            size = measure(bytes(damaged))
            assert size is None or size.pixels >= 0


@pytest.mark.parametrize(
    "encoded",
    [
        b"\xff\xd8\xff" + b"\xe0\x00\x02\xff" * 4_000_000,  # empty segments
        b"GIF89a" + bytes(7) + b"!\xff" + b"\x01\x00" * 4_000_000,
        b"GIF89a" + bytes(7) + b"!\xff" + b"\x01a" * 4_000_000,
        b"GIF89a" + bytes(7) + b"!\xff\x00" * 4_000_000,
    ],
)
def test_endless_parts_are_given_up(encoded: bytes) -> None:
    started = time.process_time()
    with contextlib.suppress(Unmeasurable):
        assert measure(encoded) is not None
    assert time.process_time() - started < 2


@pytest.mark.parametrize("filling", [b"\xff", b"\xff\x00", b"\x00"])
def test_a_long_file_without_markers_is_read_at_once(filling: bytes) -> None:
    started = time.process_time()
    assert measure(b"\xff\xd8\xff\xfe\x00\x02" + filling * 8_000_000) is None
    assert time.process_time() - started < 2
