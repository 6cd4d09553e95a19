"""Bodies: one set of poses for cats and dogs, proportioned by the animal.

All look to the right; y = 0 is the ground.
"""

import cmath
import random
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from components.image_example_gen.drawing.coat import Coat, Patch, times
from components.image_example_gen.drawing.figure import Figure, Fill, Points, blob, ellipse, limb, mirrored


class Animal(Protocol):
    """What a pose needs to know of an animal; lengths in units of the radius of the head."""

    @property
    def coat(self) -> Coat:
        """Colours and fur."""
        ...

    @property
    def length(self) -> float:
        """Of the back."""
        ...

    @property
    def depth(self) -> float:
        """Of the chest."""
        ...

    @property
    def leg(self) -> float:
        """Length of the legs."""
        ...

    @property
    def limb(self) -> float:
        """Half the thickness of the legs."""
        ...

    @property
    def neck(self) -> float:
        """Length of the neck."""
        ...

    def front_head(self, rng: random.Random, turn: float, nod: float) -> Figure:
        """The head seen from the front, turned sideways and nodding by -1 to 1."""
        ...

    def side_head(self, rng: random.Random) -> Figure:
        """The head in profile, looking to the right."""
        ...

    def add_tail(self, figure: Figure, root: complex, rng: random.Random, lying: bool) -> None:
        """Adds the tail to a body, along the ground if `lying`."""
        ...


def _shaded(fill: Fill, factor: float) -> Fill:
    """The fill of a limb on the far side."""
    marks = tuple(mark.shaded(factor) for mark in fill.marks)
    return replace(fill, colour=times(fill.colour, factor), marks=marks)


def _add_head(figure: Figure, animal: Animal, at: complex, rng: random.Random, profile: float) -> None:
    """Adds the head, in profile with the given chance, otherwise towards the viewer, more or less turned."""
    tilt = rng.gauss(0, 0.1)
    if rng.random() < profile:
        figure.add(animal.side_head(rng), cmath.rect(1, tilt), at)
    else:
        head = animal.front_head(rng, rng.uniform(-0.25, 0.55), rng.uniform(-0.2, 0.25))
        figure.add(head, cmath.rect(1, tilt), at)


def _paw(figure: Figure, animal: Animal, at: complex, fill: Fill) -> None:
    r = animal.limb
    figure.part(ellipse(at + complex(0.3 * r, -0.62 * r), 1.3 * r, 0.72 * r), fill, 1 + 0j)


def _paw_fill(animal: Animal) -> Fill:
    """Paws end a leg, so they take the colour that its fill has there."""
    leg = animal.coat.leg(0j, 1j)
    last = [mark for mark in leg.marks if animal.coat.pattern in ("bicolour", "masked")]
    return replace(leg, colour=last[-1].colour if last else leg.colour, marks=())


def _with_bib(fill: Fill, coat: Coat, outline: Points) -> Fill:
    """The fill of a chest, with a paler front for the coats that have one."""
    if coat.pattern not in ("bicolour", "saddled", "striped", "brindle"):
        return fill
    return replace(fill, marks=(*fill.marks, Patch(coat.pale, outline, 0.2)))


def standing(animal: Animal, rng: random.Random) -> Figure:
    """Standing or walking, seen from the side."""
    figure, coat = Figure(), animal.coat
    half, d, g, r = animal.length / 2, animal.depth, animal.leg, animal.limb
    stride = rng.uniform(-0.1, 0.4) * g
    animal.add_tail(figure, complex(-half - 0.12 * d, -g - 0.78 * d), rng, lying=False)

    def hind(x: float, swing: float) -> tuple[complex, ...]:
        return (
            complex(x, -g - 0.5 * d),
            complex(x + 0.22, -0.82 * g),
            complex(x - 0.24 + swing / 2, -0.4 * g),
            complex(x - 0.12 + swing, -0.12),
        )

    def fore(x: float, swing: float) -> tuple[complex, ...]:
        return (
            complex(x, -g - 0.4 * d),
            complex(x - 0.06, -0.95 * g),
            complex(x + 0.05 + swing / 2, -0.45 * g),
            complex(x + 0.06 + swing, -0.12),
        )

    def leg(knots: tuple[complex, ...], radii: tuple[float, ...], factor: float) -> None:
        fill = _shaded(coat.leg(knots[0], knots[-1]), factor)
        _paw(figure, animal, complex(knots[-1].real, 0), _shaded(_paw_fill(animal), factor))
        figure.part(limb(knots, radii), fill, 1j)

    leg(hind(-half + 0.34, stride), (0.32 * d, 1.2 * r, 0.8 * r, 0.8 * r), 0.72)
    leg(fore(half + 0.16, -stride), (0.22 * d, 1.1 * r, 0.86 * r, 0.85 * r), 0.72)
    torso = blob(
        complex(half + 0.34 * d, -g - 0.55 * d), complex(half + 0.02 * d, -g - d), complex(0, -g - 0.93 * d),
        complex(-half + 0.1 * d, -g - 0.98 * d), complex(-half - 0.3 * d, -g - 0.62 * d),
        complex(-half - 0.1 * d, -g - 0.14 * d), complex(-0.1 * half, -g - 0.1 * d),
        complex(half - 0.1 * d, -g + 0.04 * d),
    )  # fmt: skip
    head = complex(half + 0.3 * d + 0.3 * animal.neck, -g - 0.98 * d - 0.62 * animal.neck - 0.3)
    body = coat.torso(complex(0, -g - d), complex(0, -g), complex(0.46, 0))
    figure.part(limb((complex(half - 0.2 * d, -g - 0.62 * d), head), (0.46 * d, 0.56)), body, -0.5 + 1j)
    figure.part(torso, body, -1 + 0.25j)
    leg(hind(-half + 0.02, -stride), (0.4 * d, 1.3 * r, 0.85 * r, 0.85 * r), 1)
    leg(fore(half - 0.12, stride), (0.24 * d, 1.15 * r, 0.9 * r, 0.9 * r), 1)
    _add_head(figure, animal, head, rng, profile=0.3)
    return figure


def sitting(animal: Animal, rng: random.Random) -> Figure:
    """Sitting, seen from the side or half from the front."""
    figure, coat, r = Figure(), animal.coat, animal.limb
    tall, deep = 0.55 * animal.length + 0.5 * animal.leg, animal.depth / 1.5
    animal.add_tail(figure, -1.0 * deep - 0.25j, rng, lying=True)

    def fore(x: float, factor: float) -> None:
        knots = (complex(x - 0.1, -0.58 * tall), complex(x, -0.3 * tall), complex(x + 0.04, -0.12))
        _paw(figure, animal, complex(x + 0.06, 0), _shaded(_paw_fill(animal), factor))
        figure.part(limb(knots, (1.5 * r, 1.05 * r, 0.9 * r)), _shaded(coat.leg(knots[0], knots[-1]), factor))

    fore(0.78 * deep, 0.78)
    torso = blob(
        -1.12 * deep - 0.1j, -1.24 * deep - 0.62j, -0.92 * deep - 0.56j * tall, -0.42 * deep - 0.86j * tall,
        0.14 * deep - 1.04j * tall, 0.72 * deep - 0.84j * tall, 0.74 * deep - 0.46j * tall,
        0.42 * deep - 0.1j * tall,
        -0.3 * deep - 0.02j,
    )  # fmt: skip
    body = coat.torso(
        complex(-1.1 * deep, -0.7 * tall), complex(0.75 * deep, -0.4 * tall), complex(0.25, 0.38)
    )
    figure.part(torso, body, -0.5 + 1j)
    haunch = coat.torso(complex(-1.1 * deep, -0.9), complex(1.2 * deep, -0.3), complex(0.42, 0.1))
    figure.part(ellipse(-0.5 * deep - 0.62j, 0.68 * deep, 0.62, 0.3), haunch, -0.6 + 1j)
    figure.part(ellipse(complex(0.06 * deep, -0.17), 0.46, 0.18), _paw_fill(animal), 1 + 0j)
    fore(0.5 * deep, 1)
    _add_head(
        figure, animal, complex(0.42 * deep, -1.04 * tall - 0.42 - 0.3 * animal.neck), rng, profile=0.25
    )
    return figure


def facing(animal: Animal, rng: random.Random) -> Figure:
    """Sitting, seen from the front."""
    figure, coat, r = Figure(), animal.coat, animal.limb
    tall, wide = 0.5 * animal.length + 0.42 * animal.leg, animal.depth / 1.55
    animal.add_tail(figure, -0.7 * wide - 0.3j, rng, lying=True)
    body = coat.torso(0j - tall * 1j, complex(0, 0.35 * tall), 0.42j)
    for s in (-1, 1):
        figure.part(ellipse(complex(s * 0.78 * wide, -0.52), 0.46 * wide, 0.52), body, 0.4 * s + 1j)
        figure.part(ellipse(complex(s * 0.95 * wide, -0.15), 0.34, 0.17), _paw_fill(animal), 1 + 0j)
    torso = mirrored(
        -1.08j * tall, 0.52 * wide - 0.98j * tall, 0.78 * wide - 0.55j * tall, 0.8 * wide - 0.2j * tall,
        0.5 * wide - 0.06j, -0.04j,
    )  # fmt: skip
    bib = mirrored(-1.1j * tall, 0.38 * wide - 0.8j * tall, 0.32 * wide - 0.45j * tall, -0.3j * tall)
    figure.part(torso, _with_bib(body, coat, bib), 1j)
    for s in (-1, 1):
        x = s * 0.36 * wide
        knots = (complex(x * 1.15, -0.6 * tall), complex(x, -0.3 * tall), complex(x, -0.12))
        figure.part(limb(knots, (1.3 * r, 1.05 * r, 0.95 * r)), coat.leg(knots[0], knots[-1]))
        figure.part(ellipse(complex(x, -0.7 * r), 1.18 * r, 0.78 * r), _paw_fill(animal))
    _add_head(figure, animal, complex(0, -1.06 * tall - 0.5 - 0.25 * animal.neck), rng, profile=0.0)
    return figure


def lying(animal: Animal, rng: random.Random) -> Figure:
    """Lying on the belly with the forelegs stretched out."""
    figure, coat, r = Figure(), animal.coat, animal.limb
    half, d = animal.length / 2, 0.88 * animal.depth
    animal.add_tail(figure, complex(-half - 0.1, -0.35), rng, lying=True)
    far = (complex(half - 0.2, -0.5), complex(half + 0.6, -0.34), complex(half + 1.45, -0.24))
    figure.part(limb(far, (0.3, 1.05 * r, 0.95 * r)), _shaded(coat.leg(far[0], far[-1]), 0.75), 1 + 0j)
    torso = blob(
        complex(-half - 0.3, -0.1), complex(-half - 0.38, -0.55 * d), complex(-half + 0.25, -1.0 * d),
        complex(0, -0.96 * d),
        complex(half - 0.1, -1.12 * d),
        complex(half + 0.42, -0.7 * d), complex(half + 0.25, -0.06), complex(0, 0.02),
    )  # fmt: skip
    head = complex(half + 0.28, -1.12 * d - 0.3 - 0.25 * animal.neck)
    body = coat.torso(complex(0, -d), complex(0, 0.1), complex(0.46, 0))
    figure.part(limb((complex(half - 0.2, -0.6 * d), head), (0.46 * d, 0.6)), body, -0.3 + 1j)
    figure.part(torso, body, -1 + 0.3j)
    figure.part(ellipse(complex(-half + 0.32, -0.48), 0.66, 0.5, -0.2), body, -0.6 + 1j)
    figure.part(ellipse(complex(-half + 0.85, -0.16), 0.46, 0.18), _paw_fill(animal), 1 + 0j)
    near = (complex(half + 0.05, -0.55), complex(half + 0.5, -0.24), complex(half + 1.15, -0.2))
    figure.part(limb(near, (0.36, 1.1 * r, 0.95 * r)), coat.leg(near[0], near[-1]), 1 + 0j)
    figure.part(ellipse(near[-1] + complex(0.18, 0.02), 1.25 * r, 0.8 * r), _paw_fill(animal), 1 + 0j)
    _add_head(figure, animal, head, rng, profile=0.25)
    return figure


def portrait(animal: Animal, rng: random.Random) -> Figure:
    """Head and shoulders."""
    figure, coat = Figure(), animal.coat
    side = rng.uniform(-0.5, 0.5)
    body = coat.torso(-0.4j, 4.5j, 0.5j)
    bust = mirrored(0.1j, 0.6 + 0.2j, 0.98 + 0.9j, 1.25 + 1.7j, 1.3 + 2.8j, 1.2 + 4.6j, 4.8j)
    bib = mirrored(0.2j, 0.5 + 0.9j, 0.5 + 1.8j, 2.6j)
    figure.part(bust + side, _with_bib(body, coat, bib + side), 1j)
    for s in (-1, 1):
        knots = (complex(0.62 * s + side, 2.1), complex(0.55 * s + side, 3.2), complex(0.55 * s + side, 4.6))
        figure.part(
            limb(knots, (1.5 * animal.limb, 1.2 * animal.limb, animal.limb)), coat.leg(knots[0], knots[-1])
        )
    _add_head(figure, animal, 0.4 * side + 0j, rng, profile=0.15)
    return figure


POSES: list[Callable[[Animal, random.Random], Figure]] = [
    standing,
    sitting,
    facing,
    lying,
    portrait,
    portrait,
]
