"""Tileable noise for fur, coat markings and grain, computed once per process.

Computing noise for every image would take longer than the rest of the drawing. A random window of a fixed
tile looks as good at no cost.
"""

import functools
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]

_SIDE = 512


@functools.cache
def _tile(kind: str) -> Field:
    fx, fy = np.fft.rfftfreq(_SIDE)[None, :], np.fft.fftfreq(_SIDE)[:, None]
    f = np.hypot(fx, fy)
    response = {
        "strands": np.exp(-((17 * fy) ** 2) - (2.8 * fx) ** 2) * f,
        "stripes": np.exp(-((60 * (fx - 0.09)) ** 2) - (34 * fy) ** 2),
        "spots": np.exp(-((60 * (f - 0.06)) ** 2)),
        "patches": (np.exp(-((34 * f) ** 2)) + 0.02 * np.exp(-((9 * f) ** 2))) * (f > 0),
        "clouds": (np.exp(-((14 * f) ** 2)) + 0.12 * np.exp(-((5 * f) ** 2))) * (f > 0),
        "grain": np.exp(-((1.2 * f) ** 2)),
    }[kind]
    white = np.random.default_rng(5).random((_SIDE, _SIDE)) - 0.5
    field = np.fft.irfft2(np.fft.rfft2(white) * response, s=(_SIDE, _SIDE))
    return (field / (2.5 * field.std())).clip(-1, 1).astype(np.float32)


@functools.cache
def _zoomed(kind: str, zoom: float) -> Field:
    corner = (0, 0, _SIDE / zoom, _SIDE / zoom)
    return np.asarray(Image.fromarray(_tile(kind)).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, corner))


def window(kind: str, rng: random.Random, size: tuple[int, int], zoom: float = 1) -> Field:
    """Returns a random (height, width) window of a texture, in [-1, 1].

    Args:
        kind: `strands` or `stripes` (both upright), `spots`, `patches`, `clouds` or `grain`.
        rng: Source of the window's position.
        size: Width and height in pixels, at most 512.
        zoom: At least 1; rounded to a power of √2, because each zoomed texture is cached.
    """
    (width, height), steps = size, max(round(2 * np.log2(zoom)), 0)
    tile = _zoomed(kind, 2 ** (steps / 2)) if steps else _tile(kind)
    x, y = int(rng.random() * (_SIDE - width + 1)), int(rng.random() * (_SIDE - height + 1))
    return tile[y : y + height, x : x + width]


def shaded(image: Image.Image, factors: Sequence[Field], plus: Field | float = 0) -> Image.Image:
    """Returns the RGB image with each channel multiplied by its (height, width) factor, plus `plus`."""
    planes = [
        np.clip(np.asarray(channel) * factor + plus, 0, 255).astype(np.uint8)
        for channel, factor in zip(image.split(), factors, strict=True)
    ]
    return Image.merge("RGB", [Image.fromarray(plane) for plane in planes])
