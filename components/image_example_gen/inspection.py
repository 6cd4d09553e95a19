"""Checks that an image can be used, and measures its properties."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from components.image_example_gen import splits
from components.image_example_gen.sources.base import ImageRejected
from serving import image_limits

_OTHER_FORMATS = {
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"PK\x03\x04": "ZIP",
}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32) / 255
_MIN_SIDE = 32  # pixels; a smaller image shows too little
_SAMPLED_LINES = 64  # brightness and contrast of a PNG are measured on about as many rows and columns


@dataclass(frozen=True)
class Properties:
    """Properties of an image that are stored with its bytes.

    Attributes:
        digest: SHA-256 of the bytes, 32 bytes.
        format: "jpeg" or "png".
        mode: Pillow's mode.
        height: Pixels.
        width: Pixels.
        brightness: Mean luma, 0 to 1.
        contrast: Standard deviation of luma, 0 to 0.5.
    """

    digest: bytes
    format: str
    mode: str
    height: int
    width: int
    brightness: float
    contrast: float


def inspect(data: bytes, max_pixels: int) -> Properties:
    """Decodes an image as training does, and measures it.

    TensorFlow's decoder decides whether the image can be used: training and serving decode with it, and
    Pillow accepts some damaged files that it rejects. A JPEG is decoded at an eighth of its size, which still
    reads every byte.

    Args:
        data: The encoded image.
        max_pixels: Images with more pixels, according to their header, are rejected before decoding.

    Raises:
        ImageRejected: The image is not an intact JPEG or PNG with one frame, or it is too small or too large.
    """
    if not data:
        raise ImageRejected("empty file")
    try:
        image_limits.check_image(data, max_pixels)
    except image_limits.ImageLimitError as error:
        raise ImageRejected(error.reason, error.detail) from None
    is_jpeg = data.startswith(image_limits.JPEG_MAGIC)
    if not is_jpeg and not data.startswith(image_limits.PNG_MAGIC):
        raise ImageRejected("not a JPEG or PNG", _guess_format(data))
    try:
        # Image.open would apply its own pixel limit and warn.
        header = (JpegImageFile if is_jpeg else PngImageFile)(io.BytesIO(data))
    except (SyntaxError, OSError, ValueError) as error:
        raise ImageRejected("damaged", str(error)) from None
    width, height = header.size
    if min(width, height) < _MIN_SIDE:
        raise ImageRejected(f"smaller than {_MIN_SIDE} pixels", f"{width:,} × {height:,}")
    if getattr(header, "is_animated", False):
        raise ImageRejected("animated")
    try:
        if is_jpeg:
            pixels = tf.io.decode_jpeg(data, channels=3, ratio=8, dct_method="INTEGER_FAST").numpy()
        else:
            pixels = tf.io.decode_png(data, channels=3).numpy()
            pixels = pixels[:: max(height // _SAMPLED_LINES, 1), :: max(width // _SAMPLED_LINES, 1)]
    except tf.errors.OpError as error:
        raise ImageRejected("damaged", _first_sentence(error)) from None
    luma = pixels @ _LUMA
    return Properties(
        digest=splits.digest(data),
        format="jpeg" if is_jpeg else "png",
        mode=header.mode,
        height=height,
        width=width,
        brightness=float(luma.mean()),
        contrast=float(luma.std()),
    )


def _guess_format(data: bytes) -> str:
    if data[4:8] == b"ftyp":
        return "HEIC, AVIF or a video"
    for magic, name in _OTHER_FORMATS.items():
        if data.startswith(magic):
            return name
    return "text" if data[:512].isascii() else "unknown contents"


def _first_sentence(error: tf.errors.OpError) -> str:
    message = str(error.message).partition("}} ")[2] or str(error.message)
    return message.partition(" [Op:")[0].split(". ")[0].strip()
