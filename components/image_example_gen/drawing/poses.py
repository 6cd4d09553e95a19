"""The poses, shared by cats and dogs, with each animal's proportions.

All animals face right; y = 0 is the ground.
"""

import cmath
import random
from collections.abc import Callable, Sequence

from components.image_example_gen.drawing.animal import Animal
from components.image_example_gen.drawing.animal_shape import AnimalShape
from components.image_example_gen.drawing.outlines import blob, ellipse, limb, mirrored, times


def _add_head(shape: AnimalShape, animal: Animal, at: complex, rng: random.Random) -> None:
    """Adds the head, straight or turned to one side."""
    head = animal.head(turn=rng.uniform(-0.4, 0.7), nod=rng.uniform(-0.2, 0.25))
    shape.add(head, cmath.rect(1, rng.gauss(0, 0.12)), at)
    shape.centre = at


def _add_leg(
    shape: AnimalShape, animal: Animal, knots: Sequence[complex], radii: Sequence[float], dim: float = 1
) -> None:
    """Adds a leg along the knots, and its paw at the last knot, the ankle."""
    coat, ankle = animal.coat, knots[-1]
    animal.add_paw(shape, complex(ankle.real + 0.35 * animal.limb, ankle.imag + 0.13), dim=dim)
    animal.add(shape, limb(knots, radii), ankle - knots[0], dim)
    if coat.paws != coat.base:
        sock = limb([0.55 * knots[-2] + 0.45 * ankle, ankle], radii[-2:])
        shape.part(sock, times(coat.paws, dim), coat.fur / 2, patterned=False, raised=False)


def standing(animal: Animal, rng: random.Random) -> AnimalShape:
    """Standing or walking, seen from the side."""
    shape, half, d, g, r = AnimalShape(), animal.length / 2, animal.depth, animal.leg, animal.limb
    stride = rng.uniform(-0.1, 0.4) * g
    animal.add_tail(shape, complex(-half - 0.12 * d, -g - 0.78 * d), rng, lying=False)

    def leg(x: float, swing: float, hind: bool, dim: float) -> None:
        knee, heel, ankle = (0.22, -0.24, -0.12) if hind else (-0.06, 0.05, 0.06)
        bends = (-0.5j * d - 1j * g, knee - 0.88j * g, heel + swing / 2 - 0.42j * g, ankle + swing - 0.13j)
        radii = ((0.4 if hind else 0.24) * d, 1.2 * r, 0.87 * r, 0.87 * r)
        _add_leg(shape, animal, [x + bend for bend in bends], radii, dim)

    leg(-half + 0.34, stride, hind=True, dim=0.72)
    leg(half + 0.16, -stride, hind=False, dim=0.72)
    head = complex(half + 0.3 * d + 0.3 * animal.neck, -g - 0.98 * d - 0.62 * animal.neck - 0.3)
    back = [(half + 0.34 * d, -0.55), (half + 0.02 * d, -1), (0, -0.93), (0.1 * d - half, -0.98)]
    belly = [(-half - 0.3 * d, -0.62), (-half - 0.1 * d, -0.14), (-0.1 * half, -0.1), (half - 0.1 * d, 0.04)]
    animal.add(shape, limb((complex(half - 0.2 * d, -g - 0.62 * d), head), (0.46 * d, 0.56)), -0.5 + 1j)
    animal.add(shape, blob(*(complex(x, y * d - g) for x, y in back + belly)), -1 + 0.25j)
    leg(-half + 0.02, -stride, hind=True, dim=1)
    leg(half - 0.12, stride, hind=False, dim=1)
    _add_head(shape, animal, head, rng)
    return shape


def sitting(animal: Animal, rng: random.Random) -> AnimalShape:
    """Sitting, half from the side."""
    shape, r = AnimalShape(), animal.limb
    tall, d = 0.55 * animal.length + 0.5 * animal.leg, animal.depth / 1.5
    animal.add_tail(shape, -1.0 * d - 0.25j, rng, lying=True)

    def fore(x: float, dim: float) -> None:
        knots = (x - 0.1 - 0.58j * tall, x - 0.3j * tall, x + 0.04 - 0.13j)
        _add_leg(shape, animal, knots, (1.5 * r, 1.05 * r, 0.9 * r), dim)

    fore(0.78 * d, dim=0.78)
    back = (-1.12 * d - 0.1j, -1.24 * d - 0.62j, -0.92 * d - 0.56j * tall, -0.42 * d - 0.86j * tall)
    chest = (
        0.14 * d - 1.04j * tall,
        0.72 * d - 0.84j * tall,
        0.74 * d - 0.46j * tall,
        0.42 * d - 0.1j * tall,
    )
    animal.add(shape, blob(*back, *chest, -0.3 * d - 0.02j), -0.3 + 1j)
    animal.add(shape, ellipse(-0.5 * d - 0.62j, 0.68 * d, 0.62, 0.3), -0.6 + 1j)
    animal.add_paw(shape, 0.06 * d + 0j, width=1.7)
    fore(0.5 * d, dim=1)
    _add_head(shape, animal, 0.42 * d - 1j * (1.04 * tall + 0.42 + 0.3 * animal.neck), rng)
    return shape


def facing(animal: Animal, rng: random.Random) -> AnimalShape:
    """Sitting, seen from the front."""
    shape, r = AnimalShape(), animal.limb
    tall, w = 0.5 * animal.length + 0.42 * animal.leg, animal.depth / 1.55
    animal.add_tail(shape, -0.7 * w - 0.3j, rng, lying=True)
    for s in (-1, 1):
        animal.add(shape, ellipse(s * 0.78 * w - 0.52j, 0.46 * w, 0.52), 0.4 * s + 1j)
        animal.add_paw(shape, s * 0.95 * w + 0j)
    top = (-1.08j * tall, 0.52 * w - 0.98j * tall, 0.78 * w - 0.55j * tall)
    animal.add(shape, mirrored(*top, 0.8 * w - 0.2j * tall, 0.5 * w - 0.06j, -0.04j))
    if animal.coat.blazed:
        bib = mirrored(-1j * tall, 0.38 * w - 0.8j * tall, 0.32 * w - 0.45j * tall, -0.3j * tall)
        animal.add_pale(shape, bib, raised=False)
    for s in (-1, 1):
        x = s * 0.36 * w
        _add_leg(
            shape,
            animal,
            (1.15 * x - 0.6j * tall, x - 0.3j * tall, x - 0.13j),
            (1.3 * r, 1.05 * r, 0.95 * r),
        )
    _add_head(shape, animal, -1j * (1.06 * tall + 0.5 + 0.25 * animal.neck), rng)
    return shape


def lying(animal: Animal, rng: random.Random) -> AnimalShape:
    """Lying on the belly with the forelegs stretched out."""
    shape, half, d, r = AnimalShape(), animal.length / 2, 0.88 * animal.depth, animal.limb
    animal.add_tail(shape, -half - 0.1 - 0.35j, rng, lying=True)

    def fore(x: float, reach: float, dim: float) -> None:
        knots = (x - 0.55j, x + 0.5 * reach - 0.3j, x + reach - 0.22j)
        _add_leg(shape, animal, knots, (0.34, 1.1 * r, 0.95 * r), dim)

    fore(half - 0.1, 1.45, dim=0.75)
    head = half + 0.28 - 1j * (1.12 * d + 0.3 + 0.25 * animal.neck)
    back = (
        -half - 0.3 - 0.1j,
        -half - 0.38 - 0.55j * d,
        -half + 0.25 - 1j * d,
        -0.96j * d,
        half - 0.1 - 1.12j * d,
    )
    animal.add(shape, limb((half - 0.2 - 0.6j * d, head), (0.46 * d, 0.6)), -0.3 + 1j)
    animal.add(shape, blob(*back, half + 0.42 - 0.7j * d, half + 0.25 - 0.06j, 0.02j), -1 + 0.3j)
    animal.add(shape, ellipse(-half + 0.32 - 0.48j, 0.66, 0.5, -0.2), -0.6 + 1j)
    animal.add_paw(shape, -half + 0.85 + 0j, width=1.6)
    fore(half + 0.05, 1.1, dim=1)
    _add_head(shape, animal, head, rng)
    return shape


POSES: list[Callable[[Animal, random.Random], AnimalShape]] = [standing, sitting, facing, lying]
