"""Coats, with the same palette and patterns for cats and dogs, so that colour does not reveal the class."""

import random
from dataclasses import dataclass

import numpy as np

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.outlines import Colour, blend, times

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
_PATTERNS = ("solid", "striped", "striped", "bicolour", "bicolour", "patched", "spotted", "masked")


@dataclass(frozen=True)
class Coat:
    """The coat of one animal.

    Attributes:
        base: Main colour.
        pale: Colour of muzzle, chest and belly.
        tips: Colour of ears and tail.
        paws: Colour of the paws.
        fur: Length of the fur, in units of the head's radius.
        pattern: Texture of the markings; empty for none.
        tone: Factors of red, green and blue that a marking multiplies the colour by.
        blazed: Whether face and chest have `pale` markings.
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
        """Returns a coat with random pattern, colours and fur length."""
        kind, fur = rng.choice(_PATTERNS), rng.choice((0.05, 0.07, 0.07, 0.1, 0.15))
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
        """Returns how strong the marking is at each pixel, 0 to 1, (height, width); `unit` is in pixels."""
        field = textures.window(self.pattern, rng, size, zoom=unit / 28)
        threshold = {"stripes": 0.0, "spots": 0.42, "patches": 0.1}[self.pattern]
        return (5 * (field - np.float32(threshold))).clip(0, 1)
