"""Draws a dog: proportions, head and tail."""

import random
from functools import partial

from components.image_example_gen.drawing.animal import DARK, Animal, add_glints, facial
from components.image_example_gen.drawing.animal_shape import AnimalShape
from components.image_example_gen.drawing.coat import Coat
from components.image_example_gen.drawing.outlines import (
    Colour,
    blend,
    blob,
    curve,
    ellipse,
    limb,
    mirrored,
    petal,
    times,
)

_EYES: list[Colour] = [(92, 56, 32), (112, 70, 36), (70, 46, 36), (132, 92, 48)]
_TONGUE: Colour = (228, 116, 122)
_BREEDS = (  # ears, ear length, muzzle, jowls, leg, depth, length, and the thickness along the tail
    ("pricked", 1.0, 1.0, 0.92, 1.9, 1.6, 3.1, (0.2, 0.34, 0.34, 0.12)),  # shepherd
    ("pricked", 0.72, 0.6, 0.85, 1.4, 1.6, 2.7, (0.22, 0.32, 0.36, 0.14)),  # spitz
    ("hanging", 0.9, 0.95, 1.05, 1.8, 1.7, 3.1, (0.2, 0.26, 0.28, 0.08)),  # retriever
    ("hanging", 1.3, 1.05, 1.05, 1.6, 1.6, 3.0, (0.19, 0.16, 0.12, 0.06)),  # hound
    ("hanging", 1.15, 1.15, 0.92, 0.85, 1.3, 3.6, (0.19, 0.16, 0.12, 0.06)),  # dachshund
    ("folded", 0.8, 0.85, 1.0, 1.4, 1.45, 2.5, (0.22, 0.2, 0.16, 0.1)),  # terrier
    ("folded", 0.7, 0.5, 1.25, 1.1, 1.75, 2.6, (0.22, 0.17, 0.14, 0.1)),  # bulldog
)


class Dog(Animal):
    """One dog: a long muzzle with a large dark nose, round eyes, ears by breed, a tapering tail."""

    blaze = mirrored(-0.8j, 0.16 - 0.7j, 0.12 - 0.25j, 0.3 + 0.1j, 0.5 + 0.5j, 0.3 + 0.8j, 0.9j)

    def __init__(self, coat: Coat, rng: random.Random) -> None:
        self.ears, ear_length, muzzle, jowls, leg, depth, length, self.tail = rng.choice(_BREEDS)
        super().__init__(
            coat,
            length=length * rng.uniform(0.93, 1.07),
            depth=depth * rng.uniform(0.93, 1.07),
            leg=leg * rng.uniform(0.9, 1.1),
            limb=rng.uniform(0.29, 0.36),
            neck=rng.uniform(0.5, 0.75),
        )
        self.ear_length = ear_length * rng.uniform(0.9, 1.12)
        self.muzzle, self.jowls = muzzle * rng.uniform(0.92, 1.1), jowls * rng.uniform(0.95, 1.06)
        self.eye = rng.choice(_EYES)
        self.panting = rng.random() < 0.5

    def head(self, turn: float, nod: float) -> AnimalShape:
        """See `Animal`."""
        shape, back, at = AnimalShape(), -0.16 * turn, partial(facial, turn=turn, nod=nod)
        if self.ears == "pricked":
            self._add_ears(shape, back)
        skull = (-0.88j, 0.46 - 0.84j, 0.82 - 0.46j, 0.86 + 0.02j, 0.68 + 0.5j, 0.4 + 0.86j, 0.96j)
        self.add_skull(shape, mirrored(*skull), turn)
        if self.ears != "pricked":
            self._add_ears(shape, back)

        w, drop = 0.42 * self.jowls, 0.26 * self.muzzle
        lip, low = blend(DARK, self.coat.pale, 0.15), 0.12 if self.panting else 0.0
        self.add_pale(shape, ellipse(at(0, 0.74 + low + drop, 0.46), 0.29, 0.22))
        if self.panting:
            mouth = at(0, 0.74 + drop, 0.5)
            tongue = limb((mouth - 0.05j, mouth + 0.2j, mouth + 0.42j), (0.18, 0.2, 0.17))
            shape.part(ellipse(mouth, 0.28, 0.22), (74, 32, 36), patterned=False)
            shape.part(tongue, _TONGUE, patterned=False)
            shape.line(curve(mouth + 0.06j, mouth + 0.38j), times(_TONGUE, 0.8), 0.03)
        lower = ((w, 0.4 + drop / 2, 0.55), (0.9 * w, 0.7 + drop, 0.58), (0.4 * w, 0.78 + drop, 0.6))
        right, left = ([at(s * x, y, z) for x, y, z in ((0.24, 0.06, 0.34), *lower)] for s in (1, -1))
        self.add_pale(shape, blob(at(0, -0.02, 0.3), *right, at(0, 0.7 + drop, 0.6), *left[::-1]))
        corner = at(0, 0.66 + drop, 0.62)
        shape.line(curve(at(0, 0.36 + drop, 0.66), corner), lip, 0.045)
        for s in (-1, 1):
            self._add_eye(shape, at(0.38 * s, -0.14, 0.26))
            smile = (corner, at(0.2 * s, 0.76 + drop, 0.6), at(0.92 * w * s, 0.6 + drop, 0.55))
            shape.line(curve(*smile), lip, 0.05)
        nose = ((-0.23, 0.14), (0, 0.07), (0.23, 0.14), (0.2, 0.3), (0, 0.44), (-0.2, 0.3))
        shape.flat(blob(*(at(x, y + drop, 0.66) for x, y in nose)), DARK)
        shape.flat(ellipse(at(-0.04, 0.16 + drop, 0.66), 0.12, 0.035), (138, 132, 134))
        return shape

    def _add_eye(self, shape: AnimalShape, centre: complex) -> None:
        shape.flat(ellipse(centre, 0.2, 0.18), blend(DARK, self.coat.base, 0.1))
        shape.flat(ellipse(centre, 0.155, 0.15), self.eye)
        shape.flat(ellipse(centre, 0.1, 0.105), (12, 10, 10))
        add_glints(shape, centre, 0.15, self.eye)

    def _add_ears(self, shape: AnimalShape, back: float) -> None:
        long = self.ear_length
        for s in (-1, 1):
            if self.ears == "pricked":
                tip = complex(0.66 * s + back, -0.6 - long)
                self.add_ear(shape, complex(0.84 * s + back, -0.3), tip, complex(0.2 * s + back, -0.72))
                continue
            if self.ears == "folded":
                flap = petal(0.2 - 0.86j, 0.94 + 0.08j * long, 0.98 - 0.66j)
            else:
                side = (1.16 - 0.3j, 1.24 + 0.4j * long, 1.02 + 0.82j * long, 0.76 + 0.5j * long)
                flap = blob(0.46 - 0.84j, 0.86 - 0.8j, *side, 0.7 - 0.1j)
            flap = flap if s > 0 else -flap.conj()
            shape.part(flap + back, self.coat.tips, 0.7 * self.coat.fur, 0.2 * s + 1j)

    def add_tail(self, shape: AnimalShape, root: complex, rng: random.Random, lying: bool) -> None:
        """See `Animal`; tapered, and stretched out behind a lying dog."""
        lift = rng.uniform(0.4, 1.9)
        steps = (-0.6 - 0.3j * lift, -1.15 - 0.75j * lift, -1.3 - 1.25j * lift)
        if lying:
            steps = (-0.7 + 0.12j, -1.2 + 0.15j, complex(-1.7, -0.14 - root.imag))
        tail = limb([root, *(root + step for step in steps)], self.tail)
        shape.part(tail, self.coat.tips, (0.8 + 3 * self.tail[1]) * self.coat.fur, steps[-1])
