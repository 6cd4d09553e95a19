"""Encoded images that are unusual but valid, and images that are invalid."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image


def encode(kind: str, mode: str = "RGB", size: tuple[int, int] = (60, 40), **options: Any) -> bytes:
    """Returns an image with a gradient."""
    red, green = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    pixels = np.stack([red, green, 255 - red], axis=-1).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


def jpeg_claiming(width: int, height: int) -> bytes:
    """Returns a small JPEG whose header claims another size."""
    encoded = bytearray(encode("JPEG"))
    struct.pack_into(">HH", encoded, encoded.index(b"\xff\xc0") + 5, height, width)
    return bytes(encoded)


def png_claiming(width: int, height: int) -> bytes:
    """Returns a small PNG whose header claims another size, with a valid checksum."""
    encoded = bytearray(encode("PNG"))
    struct.pack_into(">II", encoded, 16, width, height)
    struct.pack_into(">I", encoded, 29, zlib.crc32(encoded[12:29]))
    return bytes(encoded)


def blank_png(width: int, height: int, depth: int = 1) -> bytes:
    """Returns a complete black PNG: grey, or RGBA if it has 16 bits per channel."""
    colour, row = (6, 8 * width) if depth == 16 else (0, (width + 7) // 8)
    compressor = zlib.compressobj(9)
    data = b"".join(compressor.compress(bytes(row + 1)) for _ in range(height)) + compressor.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(contents)) + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))
        for kind, contents in ((b"IHDR", header), (b"IDAT", data), (b"IEND", b""))
    )


def png_with(kind: bytes, contents: bytes, length: int | None = None) -> bytes:
    """Returns a PNG with an additional chunk after its header, optionally with a false length."""
    encoded = encode("PNG")
    length_field = struct.pack(">I", len(contents) if length is None else length)
    chunk = length_field + kind + contents + struct.pack(">I", zlib.crc32(kind + contents))
    return encoded[:33] + chunk + encoded[33:]


def png_with_early_chunk(width: int, height: int) -> bytes:
    """Returns a PNG whose first chunk is unknown: its size is not where it usually is, but it is decoded."""
    encoded = png_claiming(width, height)
    contents = struct.pack(">IIB", 1, 1, 0)
    chunk = struct.pack(">I", len(contents)) + b"vpAg" + contents
    return encoded[:8] + chunk + struct.pack(">I", zlib.crc32(chunk[4:])) + encoded[8:]


def png_with_texts(count: int, length: int = 1000, kind: bytes = b"zTXt") -> bytes:
    """Returns a PNG with compressed texts of a length in bytes."""
    prefix = {b"zTXt": b"Comment\0\0", b"iTXt": b"Comment\0\1\0\0\0"}[kind]
    encoded = png_with(kind, prefix + zlib.compress(b"a" * length, 9))
    end = len(encoded) - len(encode("PNG")) + 33
    return encoded[:33] + count * encoded[33:end] + encoded[end:]


def jpeg_with_scans(count: int, size: tuple[int, int] = (60, 40)) -> bytes:
    """Returns a progressive JPEG whose last scan is repeated."""
    return _repeat_last_scan(encode("JPEG", size=size, progressive=True), count)


def noisy_jpeg_with_scans(count: int, size: tuple[int, int]) -> bytes:
    """Returns a progressive JPEG of noise, which is slow to decode, whose last scan is repeated."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=30, subsampling=0, progressive=True)
    return _repeat_last_scan(buffer.getvalue(), count)


def _repeat_last_scan(encoded: bytes, count: int) -> bytes:
    last = encoded.rindex(b"\xff\xda")
    repeated = count - encoded.count(b"\xff\xda")
    return encoded[:-2] + repeated * encoded[last:-2] + encoded[-2:]


def scan_header(components: int) -> bytes:
    """Returns the beginning of a JPEG's scan with 1 to 4 components."""
    return b"\xff\xda\0" + bytes([6 + 2 * components, components])


def with_thumbnail_and_video(jpeg: bytes) -> bytes:
    """Returns a JPEG with another JPEG inside its metadata, and 10,000 starts of a scan after its end."""
    thumbnail = b"Exif\0\0" + encode("JPEG", size=(16, 12))
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    return jpeg[:2] + segment + jpeg[2:] + b"\xff\xda video" * 10_000


def animation(frames: int, size: tuple[int, int] = (60, 40), kind: str = "GIF") -> bytes:
    """Returns an animation."""
    images = [Image.new("RGB", size, (step * 40 % 256, step % 256, 9)) for step in range(frames)]
    buffer = io.BytesIO()
    images[0].save(buffer, kind, save_all=True, append_images=images[1:])
    return buffer.getvalue()


def _png_16_bit() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.linspace(0, 65535, 2400).reshape(40, 60).astype(np.uint16)).save(buffer, "PNG")
    return buffer.getvalue()


ACCEPTED: dict[str, Callable[[], bytes]] = {
    "CMYK JPEG": lambda: encode("JPEG", "CMYK"),
    "grey JPEG": lambda: encode("JPEG", "L"),
    "16-bit PNG": _png_16_bit,
    "palette PNG with a transparent colour": lambda: encode("PNG", "P", transparency=0),
    "PNG with an alpha channel": lambda: encode("PNG", "RGBA"),
    "one pixel": lambda: encode("PNG", size=(1, 1)),
    "progressive JPEG": lambda: encode("JPEG", progressive=True),
    "JPEG with a thumbnail and a video after its end": lambda: with_thumbnail_and_video(encode("JPEG")),
    "PNG with a text that inflates to 20 MB": lambda: png_with(
        b"zTXt", b"Comment\0\0" + zlib.compress(bytes(20_000_000))
    ),
}
"""Images that a server must accept."""

REJECTED: dict[str, Callable[[], bytes]] = {
    "half a JPEG": lambda: encode("JPEG", size=(600, 400))[:4000],
    "a JPEG's first bytes": lambda: encode("JPEG")[:15],
    "half a PNG": lambda: encode("PNG", size=(600, 400))[:700],
    "50,000 × 50,000 PNG": lambda: png_claiming(50_000, 50_000),
    "50,000 × 50,000 JPEG": lambda: jpeg_claiming(50_000, 50_000),
    "text": lambda: b"Dear server, this is a letter, not an image.\n",
    "nothing": lambda: b"",
    "TIFF": lambda: encode("TIFF"),
    "icon": lambda: encode("ICO"),
    "a PNG with a chunk of 4 GB": lambda: png_with(b"IDAT", b"", length=2**32 - 1),
    "a GIF's header only": lambda: encode("GIF")[:13],
    "GIF": lambda: encode("GIF"),
    "animated GIF": lambda: animation(3),
    "BMP": lambda: encode("BMP"),
    "WebP": lambda: encode("WEBP"),
    "PNG with a chunk before its header": lambda: png_with_early_chunk(60, 40),
    "JPEG with 20,000 scans": lambda: jpeg_with_scans(20_000),
    "PNG with 9 compressed texts": lambda: png_with_texts(9),
}
"""Files that a server must reject, as the TensorFlow kernels do."""
