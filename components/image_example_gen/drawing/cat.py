"""Draws a cat: proportions, head and tail."""

import random
from functools import partial

from components.image_example_gen.drawing.animal import DARK, WHITE, Animal, add_glints, facial
from components.image_example_gen.drawing.animal_shape import AnimalShape
from components.image_example_gen.drawing.coat import Coat
from components.image_example_gen.drawing.outlines import (
    Colour,
    blend,
    blob,
    curve,
    ellipse,
    lens,
    limb,
    mirrored,
    times,
)

_IRISES: list[Colour] = [(204, 192, 66), (150, 190, 88), (222, 156, 52), (116, 182, 150), (104, 172, 220)]
_NOSES: list[Colour] = [(226, 152, 146), (226, 152, 146), (176, 104, 96), (86, 64, 62)]


class Cat(Animal):
    """One cat: wide cheeks, large slit eyes, a small nose, whiskers and a long tail of constant width."""

    blaze = mirrored(-0.55j, 0.1 - 0.2j, 0.3 + 0.1j, 0.72 + 0.45j, 0.4 + 0.75j, 0.82j)

    def __init__(self, coat: Coat, rng: random.Random) -> None:
        stout = rng.random()
        super().__init__(
            coat,
            length=rng.uniform(2.7, 3.2),
            depth=rng.uniform(1.35, 1.6) + 0.3 * stout,
            leg=rng.uniform(1.25, 1.6) - 0.2 * stout,
            limb=rng.uniform(0.22, 0.26) + 0.05 * stout,
            neck=rng.uniform(0.35, 0.5),
        )
        self.cheeks = rng.uniform(0.97, 1.06) + 0.07 * stout
        self.ears = rng.uniform(0.9, 1.15) - 0.12 * stout
        self.iris, self.nose = rng.choice(_IRISES), rng.choice(_NOSES)
        self.pupil = rng.uniform(0.06, 0.17)
        self.asleep = rng.random() < 0.1

    def head(self, turn: float, nod: float) -> AnimalShape:
        """See `Animal`."""
        shape, wide, back = AnimalShape(), self.cheeks, -0.16 * turn
        at = partial(facial, turn=turn, nod=nod)
        for s in (-1, 1):
            tip = complex(0.84 * s * wide + back, -0.42 - 1.02 * self.ears)
            self.add_ear(shape, complex(0.98 * s * wide + back, -0.12), tip, complex(0.12 * s + back, -0.72))
        brow, cheek = (-0.84j, 0.46 - 0.8j, 0.84 * wide - 0.42j), (1.03 * wide + 0.1j, 0.84 * wide + 0.5j)
        self.add_skull(shape, mirrored(*brow, *cheek, 0.4 + 0.8j, 0.88j), turn)
        self.add_pale(shape, ellipse(at(0, 0.64, 0.28), 0.3, 0.2))
        for s in (-1, 1):
            self.add_pale(shape, ellipse(at(0.2 * s, 0.45, 0.36), 0.29, 0.22, 0.3 * s), s + 0.5j)
        lip = blend(DARK, self.coat.base, 0.2)
        shape.line(curve(at(0, 0.32, 0.42), at(0, 0.46, 0.42)), times(self.nose, 0.45), 0.035)
        for s in (-1, 1):
            self._add_eye(shape, at(0.43 * s, -0.08, 0.24), s)
            smile = (at(0, 0.46, 0.42), at(0.14 * s, 0.56, 0.4), at(0.3 * s, 0.49, 0.34))
            shape.line(curve(*smile), lip, 0.04)
            self._add_whiskers(shape, at(0.24 * s, 0.45, 0.4), s)
        nose = ((-0.16, 0.2), (0, 0.17), (0.16, 0.2), (0.03, 0.36), (-0.03, 0.36))
        shape.flat(blob(*(at(x, y, 0.44) for x, y in nose)), self.nose)
        shape.flat(ellipse(at(-0.03, 0.22, 0.44), 0.06, 0.02), blend(self.nose, WHITE, 0.5))
        return shape

    def _add_eye(self, shape: AnimalShape, centre: complex, s: int) -> None:
        half = complex(0.265, -0.07 * s)
        if self.asleep:
            shape.line(lens(centre - half, centre + half, 0, 0.14)[8:], DARK, 0.06)
            return
        rim = blend(DARK, self.coat.base, 0.1)
        shape.flat(lens(centre - 1.2 * half, centre + 1.2 * half, 0.29, 0.25), rim)
        shape.flat(lens(centre - half, centre + half, 0.24, 0.2), self.iris)
        shape.flat(lens(centre - 0.8 * half, centre + 0.8 * half, 0.24, -0.08), times(self.iris, 0.72))
        shape.flat(ellipse(centre, self.pupil, 0.2), (14, 12, 14))
        add_glints(shape, centre, 0.21, self.iris)

    def _add_whiskers(self, shape: AnimalShape, root: complex, s: int) -> None:
        light: Colour = (252, 252, 250) if sum(self.coat.base) < 600 else (150, 144, 140)
        for rise, droop in ((-0.2, -0.1), (-0.02, 0.06), (0.14, 0.24)):
            start = root + 0.35j * rise
            hair = curve(start, start + complex(0.5 * s, rise), start + complex(1.05 * s, rise + droop))
            shape.line(hair, light, 0.024, 0.85)

    def add_tail(self, shape: AnimalShape, root: complex, rng: random.Random, lying: bool) -> None:
        """See `Animal`; raised with a hooked tip, or on the ground with the tip raised."""
        thick, hook, rise = 0.2 + 0.9 * self.coat.fur, rng.choice((-0.55, 0.55)), rng.uniform(1.5, 2.3)
        if lying:
            low = -0.18 - root.imag
            steps = (
                complex(-0.7, low),
                complex(-1.4, low),
                complex(-1.9, low - 0.2),
                complex(-1.9, low - 0.6),
            )
        else:
            bend, tip = complex(0.3 * hook - 0.8, -rise), complex(hook - 0.8, -rise - 0.15)
            steps = (-0.55 - 0.25j, complex(-0.85, -0.55 * rise), bend, tip)
        tail = limb(
            [root, *(root + step for step in steps)], [thick * share for share in (1, 1, 1, 0.95, 0.7)]
        )
        shape.part(tail, self.coat.tips, 1.3 * self.coat.fur, steps[1] - steps[0])
