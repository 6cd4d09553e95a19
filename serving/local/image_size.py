"""How large a picture says it is, read from its header only.

Made for hostile bytes, which is why it is not Pillow, whose formats allocate and inflate when they open: here
nothing is, and every loop ends. Where several sizes are found, the largest counts.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_MOST_PARTS = 500_000  # twice those of 64 MiB in a GIF's usual blocks
_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # JPEG's markers that nothing belongs to
_SIZES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # its frame headers
_SCAN, _END = 0xDA, 0xD9


class Unmeasurable(Exception):
    """A file with more parts than any picture has, or without a size where its format has it."""


@dataclass(frozen=True)
class Size:
    """What a header says.

    Attributes:
        width: In pixels.
        height: In pixels.
        frames: More than one in an animation.
    """

    width: int
    height: int
    frames: int = 1

    @property
    def pixels(self) -> int:
        """Of all frames together."""
        return self.width * self.height * self.frames

    def __str__(self) -> str:
        return f"{self.width}×{self.height}" + (f"×{self.frames} frames" if self.frames > 1 else "")


def measure(encoded: bytes) -> Size | None:
    """Returns a picture's size, or None for what is no picture or ends before its size.

    Args:
        encoded: Any bytes; JPEG, PNG, GIF, BMP and WebP are known, by what `tf.io.decode_image` goes by.

    Raises:
        Unmeasurable: It has no size where one is looked for, or it would take too long.
    """
    try:
        if encoded.startswith(b"\xff\xd8\xff"):
            return _jpeg(encoded)
        if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
            if encoded[12:16] not in (b"IHDR", b""):  # the decoder might find a size that is not here
                raise Unmeasurable
            return Size(*struct.unpack_from(">II", encoded, 16))
        if encoded.startswith(b"GIF8"):
            return _gif(encoded)
        if encoded.startswith(b"BM"):
            return Size(*map(abs, struct.unpack_from("<ii", encoded, 18)))
        if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
            return _webp(encoded)
    except struct.error:  # it ends too early
        pass
    return None


def _jpeg(encoded: bytes) -> Size | None:
    found = None
    at = 2
    for _ in range(_MOST_PARTS):
        match = _MARKER.search(encoded, at)
        if match is None or match[1][0] in (_SCAN, _END):
            break
        marker, at = match[1][0], match.end()
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in _SIZES and len(encoded) >= at + 7:
            height, width = struct.unpack_from(">HH", encoded, at + 3)
            found = max(found or Size(0, 0), Size(width, height), key=lambda size: size.pixels)
        if at + 2 > len(encoded):
            break
        at += max(2, struct.unpack_from(">H", encoded, at)[0])
    else:
        raise Unmeasurable
    return found  # none without a frame header, which the decoder cannot do without


def _gif(encoded: bytes) -> Size:
    width, height, flags = struct.unpack_from("<HHB", encoded, 6)
    frames = parts = 0
    at = 13 + _colours(flags)
    try:
        while encoded[at] in b"!,":
            if encoded[at] == 0x2C:  # a frame
                *_, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", encoded, at + 1)
                width, height = max(width, frame_width), max(height, frame_height)
                frames += 1
                at += 11 + _colours(flags)
            else:
                at += 2
            while parts < _MOST_PARTS:
                parts += 1
                length = encoded[at]
                at += 1 + length
                if not length:
                    break
            else:
                raise Unmeasurable
    except (IndexError, struct.error):  # truncated: the frames so far are decoded
        pass
    return Size(width, height, max(frames, 1))


def _colours(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp(encoded: bytes) -> Size:
    kind = encoded[12:16]
    if kind == b"VP8X":
        low, high = struct.unpack_from("<IH", encoded, 24)
        return Size(1 + (low & 0xFFFFFF), 1 + (low >> 24 | high << 8))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", encoded, 21)[0]
        return Size(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", encoded, 26)
        return Size(width & 0x3FFF, height & 0x3FFF)
    raise Unmeasurable
