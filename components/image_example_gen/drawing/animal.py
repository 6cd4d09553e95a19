"""What cats and dogs share: a build, a coat, and a body that is put together alike."""

import random
from abc import ABC, abstractmethod
from typing import ClassVar

from components.image_example_gen.drawing.coat import Coat
from components.image_example_gen.drawing.figure import Figure
from components.image_example_gen.drawing.shapes import Colour, Points, blend, ellipse, petal, times

DARK: Colour = (32, 27, 28)
WHITE: Colour = (255, 255, 255)


class Animal(ABC):
    """One cat or dog; lengths in units of the radius of the head.

    Args:
        coat: its colours and fur.
        length: of the back.
        depth: of the chest.
        leg: length of the legs.
        limb: half the thickness of the legs.
        neck: length of the neck.
    """

    blaze: ClassVar[Points]

    def __init__(self, coat: Coat, length: float, depth: float, leg: float, limb: float, neck: float) -> None:
        self.coat, self.length, self.depth, self.leg, self.limb, self.neck = (
            coat,
            length,
            depth,
            leg,
            limb,
            neck,
        )

    @abstractmethod
    def head(self, turn: float, nod: float) -> Figure:
        """The head; `turn` and `nod` (-1 to 1) shift the features as it looks around."""

    @abstractmethod
    def add_tail(self, figure: Figure, root: complex, rng: random.Random, lying: bool) -> None:
        """Adds the tail to a body, along the ground if `lying`."""

    def add(self, figure: Figure, outline: Points, flow: complex = 1j, dim: float = 1) -> None:
        """Adds a part of the body; `dim` darkens what is on the far side."""
        figure.part(outline, times(self.coat.base, dim), self.coat.fur, flow)

    def add_pale(self, figure: Figure, outline: Points, flow: complex = 1j, raised: bool = True) -> None:
        """Adds a part, or else a marking, in the pale colour of muzzle and chest."""
        figure.part(outline, self.coat.pale, self.coat.fur / 2, flow, patterned=False, raised=raised)

    def add_skull(self, figure: Figure, outline: Points, turn: float) -> None:
        """Adds the head's round, with a blaze where the coat has one."""
        self.add(figure, outline)
        if self.coat.blazed:
            self.add_pale(figure, self.blaze + 0.12 * turn, raised=False)

    def add_ear(self, figure: Figure, outer: complex, tip: complex, inner: complex) -> None:
        """Adds an upright ear."""
        coat, skin = self.coat, blend((226, 152, 146), self.coat.base, 0.35)
        figure.part(petal(outer, tip, inner), coat.tips, 0.7 * coat.fur, -1j)
        hollow = petal(outer, tip, inner, 0.66) + 0.1j
        figure.part(hollow, skin, 0.5 * coat.fur, -1j, patterned=False)

    def add_paw(self, figure: Figure, at: complex, width: float = 1.25, dim: float = 1) -> None:
        """Adds a paw that stands at a point; the width in units of the leg's."""
        toes = ellipse(at - 0.62j * self.limb, width * self.limb, 0.72 * self.limb)
        figure.part(toes, times(self.coat.paws, dim), self.coat.fur / 2, 1 + 0j)


def facial(x: float, y: float, depth: float, turn: float, nod: float) -> complex:
    """Where a point of a face is seen that stands out by `depth`, for `turn` and `nod` of the head."""
    return complex(x * (1 - 0.12 * abs(turn)) + turn * depth, y + nod * depth)


def add_glints(figure: Figure, eye: complex, size: float, iris: Colour) -> None:
    """Adds the light in an eye: a bright lower rim of the iris, and two reflections."""
    rim = blend(times(iris, 1.25), WHITE, 0.15)
    figure.flat(ellipse(eye + 0.6j * size, 0.55 * size, 0.22 * size), rim, 0.8)
    figure.flat(ellipse(eye - (0.35 + 0.4j) * size, 0.26 * size, 0.26 * size), WHITE)
    figure.flat(ellipse(eye + (0.35 + 0.35j) * size, 0.12 * size, 0.12 * size), WHITE, 0.8)
