"""The parts that cats and dogs share: proportions, coat, and how the body is built."""

import random
from abc import ABC, abstractmethod
from typing import ClassVar

from components.image_example_gen.drawing.animal_shape import AnimalShape
from components.image_example_gen.drawing.coat import Coat
from components.image_example_gen.drawing.outlines import Colour, Points, blend, ellipse, petal, times

DARK: Colour = (32, 27, 28)
WHITE: Colour = (255, 255, 255)


class Animal(ABC):
    """One cat or dog; lengths in units of the radius of the head.

    Args:
        coat: Colours and fur.
        length: Length of the back.
        depth: Depth of the chest.
        leg: Length of the legs.
        limb: Half the thickness of the legs.
        neck: Length of the neck.
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
    def head(self, turn: float, nod: float) -> AnimalShape:
        """Returns the head, turned by `turn` and `nod` (-1 to 1)."""

    @abstractmethod
    def add_tail(self, shape: AnimalShape, root: complex, rng: random.Random, lying: bool) -> None:
        """Adds the tail to the body, along the ground if `lying`."""

    def add(self, shape: AnimalShape, outline: Points, flow: complex = 1j, dim: float = 1) -> None:
        """Adds a part of the body; `dim` below 1 darkens parts on the far side."""
        shape.part(outline, times(self.coat.base, dim), self.coat.fur, flow)

    def add_pale(self, shape: AnimalShape, outline: Points, flow: complex = 1j, raised: bool = True) -> None:
        """Adds a part, or a marking if not `raised`, in the pale colour of muzzle and chest."""
        shape.part(outline, self.coat.pale, self.coat.fur / 2, flow, patterned=False, raised=raised)

    def add_skull(self, shape: AnimalShape, outline: Points, turn: float) -> None:
        """Adds the skull, with a blaze if the coat has one."""
        self.add(shape, outline)
        if self.coat.blazed:
            self.add_pale(shape, self.blaze + 0.12 * turn, raised=False)

    def add_ear(self, shape: AnimalShape, outer: complex, tip: complex, inner: complex) -> None:
        """Adds an upright ear."""
        coat, skin = self.coat, blend((226, 152, 146), self.coat.base, 0.35)
        shape.part(petal(outer, tip, inner), coat.tips, 0.7 * coat.fur, -1j)
        hollow = petal(outer, tip, inner, 0.66) + 0.1j
        shape.part(hollow, skin, 0.5 * coat.fur, -1j, patterned=False)

    def add_paw(self, shape: AnimalShape, at: complex, width: float = 1.25, dim: float = 1) -> None:
        """Adds a paw that stands at `at`; `width` is relative to the leg's."""
        toes = ellipse(at - 0.62j * self.limb, width * self.limb, 0.72 * self.limb)
        shape.part(toes, times(self.coat.paws, dim), self.coat.fur / 2, 1 + 0j)


def facial(x: float, y: float, depth: float, turn: float, nod: float) -> complex:
    """Returns the position of a facial point that protrudes by `depth`, for a head's `turn` and `nod`."""
    return complex(x * (1 - 0.12 * abs(turn)) + turn * depth, y + nod * depth)


def add_glints(shape: AnimalShape, eye: complex, size: float, iris: Colour) -> None:
    """Adds the highlights of an eye: a bright lower rim of the iris, and two reflections."""
    rim = blend(times(iris, 1.25), WHITE, 0.15)
    shape.flat(ellipse(eye + 0.6j * size, 0.55 * size, 0.22 * size), rim, 0.8)
    shape.flat(ellipse(eye - (0.35 + 0.4j) * size, 0.26 * size, 0.26 * size), WHITE)
    shape.flat(ellipse(eye + (0.35 + 0.35j) * size, 0.12 * size, 0.12 * size), WHITE, 0.8)
