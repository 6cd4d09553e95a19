"""Coats: one palette and one set of patterns for cats and dogs alike, so that colour gives neither away."""

import random
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray
from PIL import ImageFilter

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.figure import Box, Colour, Fill, Mark, Placement, Points
from components.image_example_gen.drawing.paint import mask_of

Amount = NDArray[np.float32]

_BASES: list[Colour] = [
    (52, 49, 50),  # black
    (88, 86, 90),  # charcoal
    (128, 132, 142),  # blue-grey
    (182, 180, 178),  # silver
    (240, 235, 226),  # white
    (232, 208, 170),  # cream
    (214, 164, 98),  # gold
    (208, 126, 66),  # ginger
    (150, 88, 52),  # red-brown
    (108, 76, 58),  # chocolate
    (184, 148, 110),  # fawn
]
_WHITE: Colour = (244, 240, 232)
PATTERNS = ("solid", "striped", "striped", "bicolour", "bicolour", "patched", "spotted", "masked", "saddled")


def blend(one: Colour, other: Colour, share: float) -> Colour:
    """`one` with a share (0 to 1) of `other` in it."""
    a, b, c = (x + (y - x) * share for x, y in zip(one, other, strict=True))
    return a, b, c


def times(colour: Colour, factor: float) -> Colour:
    """A lighter or darker colour."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def _along(box: Box, origin: complex, step: complex) -> Amount:
    """How many steps each pixel lies from the origin, along the step."""
    left, top, right, bottom = box
    unit = step / abs(step) ** 2
    x = (np.arange(left, right, dtype=np.float32) - origin.real) * unit.real
    y = (np.arange(top, bottom, dtype=np.float32) - origin.imag) * unit.imag
    return x[None, :] + y[:, None]


@dataclass(frozen=True)
class _Mark:
    colour: Colour

    def shaded(self, factor: float) -> Self:
        """The same marking, darker."""
        return replace(self, colour=times(self.colour, factor))


@dataclass(frozen=True)
class Patch(_Mark):
    """A marking with an outline, clipped to its part."""

    outline: Points
    soft: float = 0.06

    def placed(self, placement: Placement) -> "Patch":
        """See `Mark`."""
        return Patch(self.colour, placement.points(self.outline), self.soft * abs(placement.factor))

    def amount(self, box: Box, strands: Amount, rng: random.Random) -> Amount:
        """See `Mark`."""
        radius = min(max(self.soft, 0.7), 8)
        mask = mask_of(self.outline, box).filter(ImageFilter.BoxBlur(radius))
        return (np.asarray(mask, np.float32) * (1.5 / 255) - 0.25 + 0.3 * strands).clip(0, 1)


@dataclass(frozen=True)
class Bands(_Mark):
    """Wavering stripes across `step`, which is the way from one to the next."""

    origin: complex
    step: complex
    share: float = 0.45

    def placed(self, placement: Placement) -> "Bands":
        """See `Mark`."""
        return Bands(self.colour, placement.point(self.origin), placement.vector(self.step), self.share)

    def amount(self, box: Box, strands: Amount, rng: random.Random) -> Amount:
        """See `Mark`."""
        height, width = strands.shape
        waver = textures.clouds(rng, width, height, max(2.2 * abs(self.step), 4))
        wave = np.cos(2 * np.pi * (_along(box, self.origin, self.step) + 0.28 * waver))
        return (wave * 1.6 + (self.share * 3 - 1.5) + 0.5 * waver + 0.5 * strands).clip(0, 0.9)


@dataclass(frozen=True)
class Spots(_Mark):
    """Round spots or, if large, patches, about `size` across."""

    size: float
    share: float

    def placed(self, placement: Placement) -> "Spots":
        """See `Mark`."""
        return Spots(self.colour, self.size * abs(placement.factor), self.share)

    def amount(self, box: Box, strands: Amount, rng: random.Random) -> Amount:
        """See `Mark`."""
        height, width = strands.shape
        blobs = textures.clouds(rng, width, height, max(self.size, 4))
        return ((blobs - (0.75 - 1.5 * self.share)) * 7 + 0.5 * strands).clip(0, 1)


@dataclass(frozen=True)
class Ramp(_Mark):
    """A colour that comes in from `origin` on and is full one `step` further."""

    origin: complex
    step: complex

    def placed(self, placement: Placement) -> "Ramp":
        """See `Mark`."""
        return Ramp(self.colour, placement.point(self.origin), placement.vector(self.step))

    def amount(self, box: Box, strands: Amount, rng: random.Random) -> Amount:
        """See `Mark`."""
        return (_along(box, self.origin, self.step) + 0.25 * strands).clip(0, 1)


@dataclass(frozen=True)
class Coat:
    """The coat of one animal: gives each region of the body its fill.

    A region's axis runs from `start` to `end`: back to belly, hip to paw, root to tip, crown to chin.
    """

    pattern: str
    base: Colour
    second: Colour
    fuzz: float

    @classmethod
    def sample(cls, rng: random.Random) -> "Coat":
        """Draws pattern and colours; the length of the fur in units of the head's radius."""
        pattern = rng.choice(PATTERNS)
        base = times(rng.choice(_BASES), rng.uniform(0.9, 1.06))
        dark = times(base, 0.42) if sum(base) > 230 else times(base, 0.6)
        if pattern == "striped":
            base = base if sum(base) > 280 else blend(base, (150, 130, 110), 0.6)
            dark = times(base, rng.uniform(0.4, 0.55) + (0.12 if sum(base) > 480 else 0))
        elif pattern in ("spotted", "patched"):
            dark = base if sum(base) < 560 else (60, 54, 52)
            base = blend(_WHITE, dark, rng.uniform(0, 0.12))
        elif pattern in ("masked", "saddled"):
            base = rng.choice([(232, 214, 186), (214, 174, 122), (196, 140, 86), (206, 200, 192)])
            dark = blend((58, 48, 44), base, rng.uniform(0, 0.25))
        elif pattern == "bicolour":
            base = base if sum(base) < 560 else rng.choice(_BASES[:3])
        fuzz = rng.choice((0.03, 0.05, 0.05, 0.08, 0.12))
        return cls(pattern, base, dark, fuzz)

    def brindled(self) -> "Coat":
        """The coat with its stripes, if it has any, broken up as those of a dog; the mean colour stays."""
        if self.pattern != "striped":
            return self
        base, second = blend(self.base, self.second, 0.25), blend(self.second, self.base, 0.3)
        return replace(self, pattern="brindle", base=base, second=second)

    @property
    def pale(self) -> Colour:
        """Chin, chest and belly."""
        if self.pattern in ("bicolour", "spotted", "patched"):
            return _WHITE
        return blend(self.base, _WHITE, 0.5 if self.pattern in ("striped", "saddled", "brindle") else 0.2)

    def fill(self, colour: Colour, *marks: Mark, shaggy: float = 1.0) -> Fill:
        """A fill with fur of the coat's length, times `shaggy`."""
        return Fill(colour, marks, self.fuzz * shaggy, 0.06 + 0.5 * self.fuzz)

    def torso(self, start: complex, end: complex, along: complex) -> Fill:
        """`along` is the way from one stripe to the next, along the spine."""
        down = end - start
        marks: list[Mark] = []
        if self.pattern == "striped":
            marks = [Bands(self.second, start, along)]
        elif self.pattern == "brindle":
            marks = [Bands(self.second, start, 0.5 * along, 0.4)]
        elif self.pattern == "spotted":
            marks = [Spots(self.second, 0.34, 0.2)]
        elif self.pattern == "patched":
            marks = [Spots(self.second, 1.3, 0.48)]
        elif self.pattern == "saddled":
            marks = [Ramp(self.second, start + 0.62 * down, -0.25 * down)]
        if self.pattern not in ("spotted", "patched"):
            marks.append(Ramp(self.pale, start + 0.66 * down, 0.3 * down))
        return self.fill(self.base, *marks)

    def leg(self, start: complex, end: complex) -> Fill:
        """From `start`, the hip or shoulder, to `end`, the paw."""
        down = end - start
        if self.pattern == "striped":
            return self.fill(self.base, Bands(self.second, start, 0.17 * down, 0.3))
        if self.pattern == "bicolour":
            return self.fill(self.base, Ramp(_WHITE, start + 0.55 * down, 0.08 * down))
        if self.pattern == "masked":
            return self.fill(self.base, Ramp(self.second, start + 0.3 * down, 0.5 * down))
        if self.pattern == "spotted":
            return self.fill(self.base, Spots(self.second, 0.22, 0.12))
        return self.fill(self.base)

    def tail(self, start: complex, end: complex, shaggy: float = 1.0) -> Fill:
        """`start` and `end` are the root and the tip."""
        way = end - start
        if self.pattern == "striped":
            return self.fill(self.base, Bands(self.second, start, 0.16 * way, 0.4), shaggy=shaggy)
        if self.pattern == "bicolour":
            return self.fill(self.base, Ramp(_WHITE, start + 0.75 * way, 0.1 * way), shaggy=shaggy)
        return self.fill(
            self.second if self.pattern in ("masked", "saddled", "patched") else self.base, shaggy=shaggy
        )

    def ear(self) -> Fill:
        """An ear, seen from behind or outside."""
        if self.pattern in ("masked", "patched", "spotted"):
            return self.fill(self.second)
        return self.fill(times(self.second, 1.25) if self.pattern == "saddled" else times(self.base, 0.9))

    def face(self, *marks: Mark) -> Fill:
        """The head, without the muzzle; the marks are those that only one kind of animal has."""
        return self.fill(self.base, *marks)

    def muzzle(self) -> Fill:
        """Around nose and mouth."""
        return self.fill(self.second if self.pattern == "masked" else self.pale, shaggy=0.6)
