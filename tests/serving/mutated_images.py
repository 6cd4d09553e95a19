"""Mutations of images' headers, and what the decoder makes of those that are accepted."""

from __future__ import annotations

import random
import struct

import tensorflow as tf

from serving.image_limits import ImageLimitError, check_image
from tests.serving import bad_images
from tests.serving.bad_images import encode

MAX_PIXELS = 4000  # above the 60 × 40 pixels of the originals

_ORIGINALS = [
    *[encode("JPEG", mode) for mode in ("RGB", "L", "CMYK")],
    encode("JPEG", progressive=True),
    *[encode("PNG", mode) for mode in ("RGB", "RGBA", "P")],
    *[encode(kind) for kind in ("GIF", "BMP", "WEBP")],
    bad_images.png_with_early_chunk(60, 40),
    bad_images.with_thumbnail_and_video(encode("JPEG"))[:3000],
    bad_images.jpeg_with_scans(100),
    bad_images.png_with_texts(8),
]
_MAGIC = [
    *(b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"RIFF", b"\xff\xc0", b"\xff\xda"),
    *(b"IHDR", b"zTXt", bad_images.scan_header(1), bad_images.scan_header(3)),
]


def mutate(chance: random.Random) -> bytes:
    """Returns an image with up to four changes, most of them in its header."""
    encoded = bytearray(chance.choice(_ORIGINALS))
    for _ in range(chance.randrange(1, 5)):
        at = min(int(chance.expovariate(1 / 60)), len(encoded) - 1)
        match chance.randrange(5):
            case 0:
                encoded[at] = chance.choice((0, 1, 255, chance.randrange(256)))
            case 1:
                other = chance.choice(_ORIGINALS)
                start = chance.randrange(200)
                encoded[at:at] = other[start : start + chance.randrange(40)]
            case 2:
                del encoded[at : at + chance.randrange(1, 20)]
            case 3:
                encoded[at : at + 2] = struct.pack(">H", chance.choice((0, 1, 2, 13, 65535)))
            case _:
                magic = chance.choice(_MAGIC)
                encoded[at : at + len(magic)] = magic
        encoded = encoded or bytearray(b"\0")
    return bytes(encoded)


def count_decoded(chance: random.Random, count: int) -> int:
    """Decodes the mutated images that are accepted; returns how many of them the decoder takes.

    Raises:
        AssertionError: One of them is decoded to more pixels than were checked.
    """
    decoded = 0
    for _ in range(count):
        encoded = mutate(chance)
        try:
            pixels = check_image(encoded, MAX_PIXELS)
        except ImageLimitError:
            continue
        try:
            height, width, _ = tf.io.decode_image(encoded, channels=3, expand_animations=False).shape
        except tf.errors.InvalidArgumentError:
            continue
        assert height * width == pixels <= MAX_PIXELS, encoded
        decoded += 1
    return decoded
