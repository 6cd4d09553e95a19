"""Limits of the images that are decoded, checked on the encoded bytes.

This is safe on hostile bytes: nothing is allocated or decompressed, and every loop is bounded. Pillow is not
used because it allocates and decompresses when it opens some formats. The exported model has the same limits,
see `trainer.image_limits`.
"""

from __future__ import annotations

import re
import struct
from itertools import islice

# Decoding a JPEG takes up to 4.5 ns per pixel and scan, and a compressed text of a PNG up to 40 ms and 8 MB:
# within these limits, an image that fits into a request is decoded within 2 seconds (docs/serving.md).
MAX_SCANS = 100
MAX_SCAN_PIXELS = 400_000_000  # number of scans times width times height
MAX_COMPRESSED_TEXTS = 8

JPEG_MAGIC, PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

# The other formats that `tf.io.decode_image` decodes. Text may begin with BM, but has no zero byte in the BMP
# header's number of bits per pixel.
_OTHER_FORMATS = {
    "GIF": re.compile(rb"GIF8.{9}", re.DOTALL),
    "BMP": re.compile(rb"BM.{27}\0", re.DOTALL),
    "WebP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "JPEG XL": re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"),
}
_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}  # JPEG markers without a segment
_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_MAX_SEGMENTS = 10_000
# A scan's header, with the only lengths that the decoder accepts: "FF DA" alone also occurs in a video that a
# phone appends to a photograph.
_SCAN = re.compile(rb"\xff\xda\0(?:\x08\x01|\x0a\x02|\x0c\x03|\x0e\x04)")


class ImageLimitError(Exception):
    """An image must not be decoded.

    Attributes:
        reason: A limit or format, the same text for every such image.
        detail: The image's value, and the limit if there is one.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason} ({detail})")
        self.reason = reason
        self.detail = detail


def check_image(encoded: bytes, max_pixels: int) -> int:
    """Returns the number of pixels of a JPEG or PNG that is within the limits.

    Args:
        encoded: Any bytes. Formats are recognised by the same prefixes as in `tf.io.decode_image`.
        max_pixels: Largest width times height.

    Returns:
        Width times height; 0 for bytes that are not an image, or end before their size.

    Raises:
        ImageLimitError: The image exceeds a limit, is of another format, or has no size where it must be.
    """
    if encoded.startswith(JPEG_MAGIC):
        width, height = _jpeg_size(encoded)
    elif encoded.startswith(PNG_MAGIC):
        width, height = _png_size(encoded)
    else:
        for name, magic in _OTHER_FORMATS.items():
            if magic.match(encoded):
                raise ImageLimitError("not a JPEG or PNG", name)
        return 0
    if width * height > max_pixels:
        raise ImageLimitError("too many pixels", f"{width:,} × {height:,}, the limit is {max_pixels:,}")
    if encoded.startswith(JPEG_MAGIC):
        _check_scans(encoded, width * height)
    else:
        texts = encoded.count(b"zTXt") + encoded.count(b"iTXt")
        if texts > MAX_COMPRESSED_TEXTS:
            raise ImageLimitError(
                "too many compressed texts", f"{texts:,}, the limit is {MAX_COMPRESSED_TEXTS}"
            )
    return width * height


def _jpeg_size(encoded: bytes) -> tuple[int, int]:
    """Returns the largest size of all frame headers; zeros without one, which the decoder rejects."""
    size = (0, 0)
    offset = 2
    for _ in range(_MAX_SEGMENTS):
        match = _MARKER.search(encoded, offset)
        if match is None or match[1][0] in (_START_OF_SCAN, _END_OF_IMAGE):
            return size
        marker, offset = match[1][0], match.end()
        if marker in _WITHOUT_LENGTH:
            continue
        if marker in _FRAME_HEADERS and len(encoded) >= offset + 7:
            height, width = struct.unpack_from(">HH", encoded, offset + 3)
            size = max(size, (width, height), key=lambda sides: sides[0] * sides[1])
        if offset + 2 > len(encoded):
            return size
        offset += max(2, struct.unpack_from(">H", encoded, offset)[0])
    raise ImageLimitError("damaged", f"a JPEG with more than {_MAX_SEGMENTS:,} segments before its contents")


def _png_size(encoded: bytes) -> tuple[int, int]:
    if encoded[12:16] not in (b"IHDR", b""):  # the decoder might find a size elsewhere
        raise ImageLimitError("damaged", "a PNG whose first chunk is not IHDR")
    if len(encoded) < 24:
        return 0, 0
    width, height = struct.unpack_from(">II", encoded, 16)
    return width, height


def _check_scans(encoded: bytes, pixels: int) -> None:
    limit = min(MAX_SCANS, MAX_SCAN_PIXELS // max(pixels, 1))
    scans = islice(_SCAN.finditer(encoded), limit + 1)
    if sum(1 for _ in scans) > limit:
        raise ImageLimitError("too many scans", f"more than {limit}: save it as a baseline JPEG")
