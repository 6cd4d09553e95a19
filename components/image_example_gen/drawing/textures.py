"""Tileable noise made once per process: strands of fur, soft clouds and grain.

Drawing noise afresh for every picture would cost more than the picture. A random window of a fixed tile
looks as good and is free.
"""

import functools
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Field = NDArray[np.float32]

_SIDE = 512
_BLOB = 12  # pixels, about, that a blob of the original clouds measures
_FLOWS = 8


def _unit(field: NDArray[np.floating]) -> Field:
    return ((field - field.mean()) / (2.5 * field.std())).clip(-1, 1).astype(np.float32)


def _filtered(seed: int, response: NDArray[np.floating]) -> Field:
    white = np.random.default_rng(seed).random((_SIDE, _SIDE)) - 0.5
    return _unit(np.fft.irfft2(np.fft.rfft2(white) * response, s=(_SIDE, _SIDE)))


def _frequencies() -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    return np.fft.rfftfreq(_SIDE)[None, :], np.fft.fftfreq(_SIDE)[:, None]


@functools.cache
def _strands(direction: int, coarse: bool) -> Field:
    """Streaks along `direction` (of `_FLOWS` in half a turn), one to two pixels wide, or twice that."""
    across, along = (5.0, 34.0) if coarse else (2.6, 15.0)
    fx, fy = _frequencies()
    angle = np.pi * direction / _FLOWS
    flow = fx * np.cos(angle) + fy * np.sin(angle)
    side = fy * np.cos(angle) - fx * np.sin(angle)
    response = np.exp(-((flow * along) ** 2) - (side * across) ** 2) * np.hypot(fx, fy)
    return _filtered(11 + direction, response)


@functools.cache
def _clouds() -> Field:
    fx, fy = _frequencies()
    radius = np.hypot(fx, fy) * 14
    return _filtered(5, np.exp(-(radius**2)) + 0.12 * np.exp(-((radius / 3) ** 2)))


@functools.cache
def _enlarged_clouds(zoom: float, stretch: float) -> Field:
    corner = (0, 0, min(_SIDE / zoom / stretch, _SIDE), min(_SIDE / zoom, _SIDE))
    enlarged = Image.fromarray(_clouds()).resize((_SIDE, _SIDE), Image.Resampling.BICUBIC, corner)
    return np.asarray(enlarged)


@functools.cache
def _grain() -> Field:
    fx, fy = _frequencies()
    return _filtered(7, np.exp(-((np.hypot(fx, fy) * 1.2) ** 2)))


def _window(tile: Field, rng: random.Random, width: int, height: int) -> Field:
    if width > _SIDE or height > _SIDE:
        raise ValueError(f"A texture window of {width}x{height} px does not fit its {_SIDE} px tile.")
    x, y = int(rng.random() * (_SIDE - width + 1)), int(rng.random() * (_SIDE - height + 1))
    return tile[y : y + height, x : x + width]


def strands(rng: random.Random, width: int, height: int, angle: float, coarse: bool = False) -> Field:
    """A (height, width) window of streaks in [-1, 1] that run along `angle` (radians, y downwards)."""
    return _window(_strands(round(angle / np.pi * _FLOWS) % _FLOWS, coarse), rng, width, height)


def clouds(rng: random.Random, width: int, height: int, size: float, stretch: float = 1.0) -> Field:
    """Soft blobs in [-1, 1], about `size` pixels high and `size * stretch` wide."""
    step = round(2 * np.log2(size))  # few sizes, so that their tiles can be kept
    return _window(_enlarged_clouds(2 ** (step / 2) / _BLOB, stretch), rng, width, height)


def grain(rng: random.Random, width: int, height: int) -> Field:
    """Film grain in [-1, 1]."""
    return _window(_grain(), rng, width, height)
