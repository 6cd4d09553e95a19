"""Coats: one palette and one set of patterns for cats and dogs alike, so that colour gives neither away."""

import random
from dataclasses import dataclass

import numpy as np

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.shapes import Colour, blend, times

_BASES: list[Colour] = [
    (60, 57, 60),  # black
    (96, 94, 99),  # charcoal
    (130, 135, 146),  # blue-grey
    (184, 182, 180),  # silver
    (240, 235, 226),  # white
    (234, 210, 172),  # cream
    (216, 166, 100),  # gold
    (210, 128, 66),  # ginger
    (156, 92, 54),  # red-brown
    (112, 80, 60),  # chocolate
    (186, 150, 112),  # fawn
]
_WHITE: Colour = (246, 242, 235)
_KINDS = ("solid", "striped", "striped", "bicolour", "bicolour", "patched", "spotted", "masked")


@dataclass(frozen=True)
class Coat:
    """The coat of one animal.

    Attributes:
        base: its colour.
        pale: that of muzzle, chest and belly.
        tips: that of ears and tail.
        paws: theirs.
        fur: how long it is, in units of the head's radius.
        pattern: the texture of its markings; empty for none.
        tone: what a marking makes of a colour, as factors of red, green and blue.
        blazed: whether face and chest are marked in `pale`.
    """

    base: Colour
    pale: Colour
    tips: Colour
    paws: Colour
    fur: float
    pattern: str = ""
    tone: Colour = (1, 1, 1)
    blazed: bool = False

    @classmethod
    def sample(cls, rng: random.Random) -> "Coat":
        """Draws pattern, colours and length."""
        kind, fur = rng.choice(_KINDS), rng.choice((0.05, 0.07, 0.07, 0.1, 0.15))
        base = times(rng.choice(_BASES), rng.uniform(0.92, 1.06))
        pale = blend(base, _WHITE, 0.25)
        if kind == "striped":
            base = base if sum(base) > 280 else blend(base, (150, 130, 110), 0.6)
            pale, tone = blend(base, _WHITE, 0.55), blend((0.58, 0.52, 0.48), (1, 1, 1), rng.uniform(0, 0.35))
            return cls(base, pale, times(base, 0.85), base, fur, "stripes", tone, blazed=True)
        if kind in ("patched", "spotted"):
            dark = base if sum(base) < 560 else _BASES[0]
            tone = dark[0] / _WHITE[0], dark[1] / _WHITE[1], dark[2] / _WHITE[2]
            return cls(_WHITE, _WHITE, dark, _WHITE, fur, "patches" if kind == "patched" else "spots", tone)
        if kind == "masked":
            base = rng.choice([(234, 216, 188), (216, 176, 124), (200, 144, 88), (208, 202, 194)])
            dark = blend((66, 55, 50), base, rng.uniform(0, 0.25))
            return cls(base, dark, dark, dark, fur)
        if kind == "bicolour":
            base = base if sum(base) < 560 else rng.choice(_BASES[:3])
            return cls(base, _WHITE, base, _WHITE, fur, blazed=True)
        return cls(base, pale, times(base, 0.92), base, fur)

    def amount(self, rng: random.Random, size: tuple[int, int], unit: float) -> textures.Field:
        """How much of a marking each pixel has, 0 to 1, (height, width); a unit has that many pixels."""
        field = textures.window(self.pattern, rng, size, zoom=unit / 28)
        threshold = {"stripes": 0.0, "spots": 0.42, "patches": 0.1}[self.pattern]
        return (5 * (field - np.float32(threshold))).clip(0, 1)
