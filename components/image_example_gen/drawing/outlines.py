"""Outlines. Points are complex numbers, x + iy with y downwards, so that a rotation is a product."""

import cmath
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.complex128]
Colour = tuple[float, float, float]

_ARC = np.exp(1j * np.linspace(0, 2 * math.pi, 22, endpoint=False))
_CAP = np.exp(1j * np.linspace(math.pi / 2, -math.pi / 2, 7))
_T = np.linspace(0, 1, 6, endpoint=False)
_CATMULL_ROM = 0.5 * np.stack(
    [-(_T**3) + 2 * _T**2 - _T, 3 * _T**3 - 5 * _T**2 + 2, -3 * _T**3 + 4 * _T**2 + _T, _T**3 - _T**2]
)
_MOST_TUFTS = 400
_NOISE = np.random.default_rng(1).random(4096)
_NOISE[::2] *= -0.3  # every other point lies deeper


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """Linearly interpolates from `one` (share 0) to `other` (share 1)."""
    a, b, c = (x + (y - x) * share for x, y in zip(one, other, strict=True))
    return a, b, c


def times(colour: Colour, factor: float) -> Colour:
    """Returns the colour made lighter or darker by `factor`."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def rgb(colour: Colour) -> tuple[int, int, int]:
    """Returns the colour as integers for Pillow."""
    r, g, b = (int(min(max(channel, 0), 255)) for channel in colour)
    return r, g, b


def _smooth(padded: NDArray, spans: int) -> NDArray:
    return (np.stack([padded[i : i + spans] for i in range(4)], axis=1) @ _CATMULL_ROM).ravel()


def blob(*knots: complex) -> Points:
    """Returns a smooth closed outline through the knots."""
    return _smooth(np.array([knots[-1], *knots, *knots[:2]]), len(knots))


def mirrored(*half: complex) -> Points:
    """Returns a smooth closed outline, symmetrical about x = 0, from its right half (top to bottom)."""
    return blob(*half, *(-knot.conjugate() for knot in reversed(half) if knot.real))


def curve(*knots: complex | float) -> NDArray:
    """Returns a smooth open line through the knots."""
    return np.append(_smooth(np.array([knots[0], *knots, knots[-1]]), len(knots) - 1), knots[-1])


def ellipse(centre: complex, rx: float, ry: float, turn: float = 0) -> Points:
    """Returns an ellipse, rotated by `turn` radians."""
    return centre + (rx * _ARC.real + 1j * ry * _ARC.imag) * cmath.exp(1j * turn)


def limb(knots: Sequence[complex], radii: Sequence[float]) -> Points:
    """Returns the outline of a rounded limb along the knots, with a radius for each knot."""
    spine, radius = curve(*knots), curve(*radii)
    tangent = np.gradient(spine)
    tangent /= np.abs(tangent) + 1e-9
    side = 1j * tangent * radius
    end, start = spine[-1] + radius[-1] * tangent[-1] * _CAP, spine[0] - radius[0] * tangent[0] * _CAP
    return np.concatenate([spine + side, end, (spine - side)[::-1], start])


def petal(base: complex, tip: complex, other_base: complex, size: float = 1) -> Points:
    """Returns a pointed, slightly bulging outline, such as an ear, scaled about the middle of its base."""
    middle = (base + other_base) / 2
    base, tip, other_base = (middle + (corner - middle) * size for corner in (base, tip, other_base))
    centre, t = (base + other_base + tip) / 3, np.linspace(0, 1, 8)

    def side(start: complex, end: complex) -> Points:
        outward = (start + end) / 2 - centre
        bent = (start + end) / 2 + 0.2 * abs(end - start) * outward / abs(outward)
        return start * (1 - t) ** 2 + bent * 2 * t * (1 - t) + end * t**2

    return np.concatenate([side(base, tip), side(tip, other_base)])


def lens(left: complex, right: complex, above: float, below: float) -> Points:
    """Returns an almond between two corners, `above` and `below` high."""
    t = np.linspace(0, 1, 8)
    lift = 4 * t * (1 - t) * 1j * (right - left) / abs(right - left)
    line = left + (right - left) * t
    return np.concatenate([line - lift * above, (line + lift * below)[::-1]])


def tufted(outline: Points, length: float, spacing: float, flow: complex, noise: int) -> Points:
    """Returns the outline with uneven tufts of fur, `length` long, `spacing` apart and leaning along `flow`.

    `noise` is an offset into a fixed table of random lengths.
    """
    closed = np.append(outline, outline[0])
    along = np.abs(closed[1:] - closed[:-1]).cumsum()
    count = min(int(along[-1] / spacing) // 2 * 2, _MOST_TUFTS)
    if count < 8:
        return outline
    points = np.interp(np.arange(count) * (along[-1] / count), np.append(0, along), closed)
    edge = np.empty_like(points)
    edge[1:-1], edge[0], edge[-1] = points[2:] - points[:-2], points[1] - points[-1], points[0] - points[-2]
    centred = points - points.mean()
    inward = 1j * edge / (np.abs(edge) + 1e-9) * np.sign(np.vdot(centred, edge).imag)
    noise = noise % (len(_NOISE) - _MOST_TUFTS) // 2 * 2
    lean = 0.7 * flow / abs(flow)
    return points + length * _NOISE[noise : noise + count] * (lean - inward)
