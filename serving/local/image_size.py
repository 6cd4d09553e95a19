"""Reads the size of an image from its header only.

This is safe on hostile bytes: nothing is allocated or decompressed, and every loop is bounded. Pillow is not
used because it allocates and decompresses when it opens some formats. If a file has several sizes, the
largest counts.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass

_MAX_SEGMENTS = 500_000  # twice the number of usual GIF blocks in 64 MiB
_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a segment
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9


class UnreadableSizeError(Exception):
    """The header of an image has no size, or more segments than any valid image."""


@dataclass(frozen=True)
class ImageSize:
    """The size that an image's header states.

    Attributes:
        width: In pixels.
        height: In pixels.
        frames: Number of frames; more than one for an animation.
    """

    width: int
    height: int
    frames: int = 1

    @property
    def pixels(self) -> int:
        """Number of pixels of all frames together."""
        return self.width * self.height * self.frames

    def __str__(self) -> str:
        return f"{self.width}×{self.height}" + (f"×{self.frames} frames" if self.frames > 1 else "")


def read_image_size(encoded: bytes) -> ImageSize | None:
    """Returns the size of an image, or None if the bytes are not an image or end before the size.

    Args:
        encoded: Any bytes. JPEG, PNG, GIF, BMP and WebP are recognised by the same prefixes as in
            `tf.io.decode_image`.

    Raises:
        UnreadableSizeError: The header has no size, or reading it would take too long.
    """
    try:
        if encoded.startswith(b"\xff\xd8\xff"):
            return _jpeg_size(encoded)
        if encoded.startswith(b"\x89PNG\r\n\x1a\n"):
            if encoded[12:16] not in (b"IHDR", b""):  # the decoder might find a size elsewhere
                raise UnreadableSizeError
            return ImageSize(*struct.unpack_from(">II", encoded, 16))
        if encoded.startswith(b"GIF8"):
            return _gif_size(encoded)
        if encoded.startswith(b"BM"):
            return ImageSize(*map(abs, struct.unpack_from("<ii", encoded, 18)))
        if encoded.startswith(b"RIFF") and encoded[8:12] == b"WEBP":
            return _webp_size(encoded)
    except struct.error:  # truncated
        pass
    return None


def _jpeg_size(encoded: bytes) -> ImageSize | None:
    size = None
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(encoded, offset)
        if match is None or match[1][0] in (_START_OF_SCAN, _END_OF_IMAGE):
            break
        marker, offset = match[1][0], match.end()
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in _FRAME_HEADERS and len(encoded) >= offset + 7:
            height, width = struct.unpack_from(">HH", encoded, offset + 3)
            if size is None or width * height > size.pixels:
                size = ImageSize(width, height)
        if offset + 2 > len(encoded):
            break
        offset += max(2, struct.unpack_from(">H", encoded, offset)[0])
    else:
        raise UnreadableSizeError
    return size  # None without a frame header, which the decoder rejects


def _gif_size(encoded: bytes) -> ImageSize:
    width, height, flags = struct.unpack_from("<HHB", encoded, 6)
    frames = segments = 0
    offset = 13 + _palette_bytes(flags)
    try:
        while encoded[offset] in b"!,":
            if encoded[offset] == 0x2C:  # a frame
                *_, frame_width, frame_height, flags = struct.unpack_from("<HHHHB", encoded, offset + 1)
                width, height = max(width, frame_width), max(height, frame_height)
                frames += 1
                offset += 11 + _palette_bytes(flags)
            else:
                offset += 2
            while segments < _MAX_SEGMENTS:
                segments += 1
                length = encoded[offset]
                offset += 1 + length
                if not length:
                    break
            else:
                raise UnreadableSizeError
    except (IndexError, struct.error):  # truncated: the decoder decodes the frames so far
        pass
    return ImageSize(width, height, max(frames, 1))


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _webp_size(encoded: bytes) -> ImageSize:
    kind = encoded[12:16]
    if kind == b"VP8X":
        low, high = struct.unpack_from("<IH", encoded, 24)
        return ImageSize(1 + (low & 0xFFFFFF), 1 + (low >> 24 | high << 8))
    if kind == b"VP8L":
        bits = struct.unpack_from("<I", encoded, 21)[0]
        return ImageSize(1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF))
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", encoded, 26)
        return ImageSize(width & 0x3FFF, height & 0x3FFF)
    raise UnreadableSizeError
