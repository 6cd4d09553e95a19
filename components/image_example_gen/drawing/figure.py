"""Outlines and figures. Points are complex numbers, x + iy with y downwards, so that a turn is a product."""

import cmath
import functools
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.complex128]
Colour = tuple[float, float, float]
Box = tuple[int, int, int, int]

_ARC = np.exp(1j * np.linspace(0, 2 * math.pi, 20, endpoint=False))
_CAP = np.exp(1j * np.linspace(math.pi / 2, -math.pi / 2, 7))


@functools.cache
def _catmull_rom(knots: int, closed: bool, steps: int) -> NDArray[np.float64]:
    """The matrix that turns `knots` knots into a smooth curve through them."""
    t = np.linspace(0, 1, steps, endpoint=False)
    weights = 0.5 * np.stack(
        [-(t**3) + 2 * t**2 - t, 3 * t**3 - 5 * t**2 + 2, -3 * t**3 + 4 * t**2 + t, t**3 - t**2]
    )
    spans = knots if closed else knots - 1
    matrix = np.zeros((spans * steps + (not closed), knots))
    for span in range(spans):
        for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
            knot = (span + offset) % knots if closed else min(max(span + offset, 0), knots - 1)
            matrix[span * steps : (span + 1) * steps, knot] += weight
    if not closed:
        matrix[-1, -1] = 1
    return matrix


def blob(*knots: complex) -> Points:
    """A smooth closed outline through the knots."""
    return _catmull_rom(len(knots), True, 5) @ np.array(knots)


def mirrored(*half: complex) -> Points:
    """A smooth closed outline, symmetrical about x = 0, from its right half (top to bottom)."""
    left = [-knot.conjugate() for knot in reversed(half) if knot.real]
    return blob(*half, *left)


def ellipse(centre: complex, rx: float, ry: float, turn: float = 0) -> Points:
    """An ellipse, turned by `turn` radians."""
    return centre + (rx * _ARC.real + 1j * ry * _ARC.imag) * cmath.exp(1j * turn)


def curve(*knots: complex) -> Points:
    """A smooth open line through the knots."""
    return _catmull_rom(len(knots), False, 6) @ np.array(knots)


def limb(knots: Sequence[complex], radii: Sequence[float]) -> Points:
    """The outline of a rounded limb along the knots, as thick as `radii` at each."""
    matrix = _catmull_rom(len(knots), False, 5)
    spine, radius = matrix @ np.array(knots), matrix @ np.array(radii)
    tangent = np.empty_like(spine)
    tangent[1:-1], tangent[0], tangent[-1] = (
        spine[2:] - spine[:-2],
        spine[1] - spine[0],
        spine[-1] - spine[-2],
    )
    tangent /= np.abs(tangent) + 1e-9
    side = 1j * tangent * radius
    end, start = spine[-1] + radius[-1] * tangent[-1] * _CAP, spine[0] - radius[0] * tangent[0] * _CAP
    return np.concatenate([spine + side, end, (spine - side)[::-1], start])


def petal(base: complex, tip: complex, other_base: complex, bulge: float, size: float = 1) -> Points:
    """A pointed shape, such as an ear; its sides swell outwards by `bulge` of their length.

    A `size` under 1 draws it smaller, about the same middle of its base.
    """
    middle = (base + other_base) / 2
    base, tip, other_base = (middle + (corner - middle) * size for corner in (base, tip, other_base))
    t = np.linspace(0, 1, 7)
    centre = (base + other_base + tip) / 3

    def side(start: complex, end: complex) -> Points:
        outward = (start + end) / 2 - centre
        bent = (start + end) / 2 + 2 * bulge * abs(end - start) * outward / (abs(outward) + 1e-9)
        return start * (1 - t) ** 2 + bent * 2 * t * (1 - t) + end * t**2

    return np.concatenate([side(base, tip), side(tip, other_base)])


def lens(left: complex, right: complex, above: float, below: float) -> Points:
    """An almond between two corners, as high `above` and `below` their line as given."""
    t = np.linspace(0, 1, 8)
    lift = 4 * t * (1 - t) * 1j * (right - left) / abs(right - left)
    line = left + (right - left) * t
    return np.concatenate([line - lift * above, (line + lift * below)[::-1]])


@dataclass(frozen=True)
class Placement:
    """Turns, scales and shifts points: `z * factor + shift`, with `flip` after mirroring left to right."""

    factor: complex
    shift: complex
    flip: bool = False

    def point(self, z: complex) -> complex:
        """Where a point comes to lie."""
        return (-z.conjugate() if self.flip else z) * self.factor + self.shift

    def points(self, z: Points) -> Points:
        """Where points come to lie."""
        return (-z.conj() if self.flip else z) * self.factor + self.shift

    def vector(self, z: complex) -> complex:
        """What becomes of a direction."""
        return (-z.conjugate() if self.flip else z) * self.factor


class Mark(Protocol):
    """A marking of a coat (see `coat`)."""

    @property
    def colour(self) -> Colour:
        """Its colour."""
        ...

    def placed(self, placement: Placement) -> Self:
        """The same marking in other coordinates."""
        ...

    def shaded(self, factor: float) -> Self:
        """The same marking, darker."""
        ...

    def amount(self, box: Box, strands: NDArray[np.float32], rng: random.Random) -> NDArray[np.float32]:
        """How much of it each pixel of the box has, 0 to 1; `strands` is the fur there."""
        ...


@dataclass(frozen=True)
class Fill:
    """What covers a part: a colour, the markings over it, and how furry it is.

    `fuzz` is the length of the fur at the edge in the figure's units; 0 is a smooth, hard thing. `round` is
    how strongly the light models the part.
    """

    colour: Colour
    marks: tuple[Mark, ...] = ()
    fuzz: float = 0.05
    texture: float = 0.12
    round: float = 1.0


@dataclass(frozen=True)
class Part:
    """A solid, shaded part. `flow` is the direction the fur lies in, as a vector."""

    outline: Points
    fill: Fill
    flow: complex = 1j

    def placed(self, placement: Placement) -> "Part":
        """The same part in other coordinates."""
        fill, scale = self.fill, abs(placement.factor)
        marks = tuple(mark.placed(placement) for mark in fill.marks)
        placed_fill = Fill(fill.colour, marks, fill.fuzz * scale, fill.texture, fill.round)
        return Part(placement.points(self.outline), placed_fill, placement.vector(self.flow))


@dataclass(frozen=True)
class Flat:
    """A small, sharp detail in one colour; with a `width` a line, without one a filled outline."""

    outline: Points
    colour: Colour
    width: float = 0
    opacity: float = 1

    def placed(self, placement: Placement) -> "Flat":
        """The same detail in other coordinates."""
        width = self.width * abs(placement.factor)
        return Flat(placement.points(self.outline), self.colour, width, self.opacity)


@dataclass
class Figure:
    """Parts and details in the order they are painted."""

    items: list[Part | Flat] = field(default_factory=list)

    def part(self, outline: Points, fill: Fill, flow: complex = 1j) -> None:
        """Adds a solid part."""
        self.items.append(Part(outline, fill, flow))

    def flat(self, outline: Points, colour: Colour, opacity: float = 1) -> None:
        """Adds a filled detail."""
        self.items.append(Flat(outline, colour, 0, opacity))

    def line(self, outline: Points, colour: Colour, width: float, opacity: float = 1) -> None:
        """Adds a line."""
        self.items.append(Flat(outline, colour, width, opacity))

    def add(self, other: "Figure", factor: complex, shift: complex, flip: bool = False) -> None:
        """Adds another figure, turned and scaled by `factor`, at `shift`."""
        self.items.extend(other.placed(Placement(factor, shift, flip)).items)

    def placed(self, placement: Placement) -> "Figure":
        """The same figure in other coordinates."""
        return Figure([item.placed(placement) for item in self.items])

    def bounds(self) -> tuple[float, float, float, float]:
        """Left, top, right, bottom of the solid parts."""
        points = np.concatenate([item.outline for item in self.items if isinstance(item, Part)])
        x, y = points.real, points.imag
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())
