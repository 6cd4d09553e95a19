"""A scene: a place, the light in it and the things that stand about. The animal is unknown to it."""

import random
from dataclasses import dataclass

import numpy as np

from components.image_example_gen.drawing.coat import times
from components.image_example_gen.drawing.figure import Colour, Figure, Fill, blob, ellipse, limb, petal
from components.image_example_gen.drawing.paint import Canvas
from components.image_example_gen.drawing.places import GREENS, PLACES, Stage


@dataclass(frozen=True)
class Light:
    """The light of a scene: `towards` points at it, `tint` multiplies red, green and blue."""

    towards: complex
    tint: Colour
    shadow: float


@dataclass(frozen=True)
class Scene:
    """An empty place. `foreground` is a figure in pixels that stands in front of whatever comes."""

    canvas: Canvas
    light: Light
    behind: Figure
    foreground: Figure


def _ball(rng: random.Random, x: float, ground: float, r: float) -> Figure:
    figure, colour = Figure(), rng.choice([(206, 60, 54), (60, 116, 190), (222, 190, 60), (110, 176, 80)])
    fill = Fill(colour, (), 0, 0.02, 1.5)
    figure.part(ellipse(complex(x, ground - r), r, r), fill)
    figure.part(
        limb(
            (complex(x - 0.9 * r, ground - 0.9 * r), complex(x + 0.9 * r, ground - 1.2 * r)),
            (0.12 * r, 0.12 * r),
        ),
        Fill((240, 236, 226), (), 0, 0.02, 0.6),
    )
    return figure


def _plant(rng: random.Random, x: float, ground: float, r: float) -> Figure:
    figure, green = Figure(), rng.choice(GREENS)
    for _ in range(7):
        tip = complex(x + rng.uniform(-1.5, 1.5) * r, ground - rng.uniform(2.2, 4) * r)
        base = complex(x, ground - 1.2 * r)
        figure.part(
            petal(base - 0.3 * r, tip, base + 0.3 * r, 0.2),
            Fill(times(green, rng.uniform(0.7, 1.1)), (), 0, 0.05),
        )
    pot = blob(
        complex(x - 0.8 * r, ground - 1.5 * r),
        complex(x + 0.8 * r, ground - 1.5 * r),
        complex(x + 0.55 * r, ground),
        complex(x - 0.55 * r, ground),
    )
    figure.part(pot, Fill(rng.choice([(188, 108, 72), (220, 214, 204), (92, 110, 130)]), (), 0, 0.03, 1.2))
    return figure


def _fence(rng: random.Random, width: int, height: int) -> Figure:
    figure, wood = Figure(), rng.choice([(232, 226, 214), (150, 110, 76), (120, 124, 122)])
    fill, top, step = (
        Fill(wood, (), 0, 0.06, 0.8),
        height * rng.uniform(0.74, 0.84),
        width / rng.randrange(5, 8),
    )
    rail = height * 0.92
    board = (complex(0, rail), complex(width, rail), complex(width, rail + 7), complex(0, rail + 7))
    figure.part(np.array(board), fill, 1 + 0j)
    for i in range(-1, 9):
        x = (i + 0.3) * step
        corners = (
            complex(x, height + 5),
            complex(x, top + 8),
            complex(x + 0.11 * step, top),
            complex(x + 0.22 * step, top + 8),
            complex(x + 0.22 * step, height + 5),
        )
        figure.part(np.array(corners), fill, 1j)
    return figure


def _leaves(rng: random.Random, width: int, height: int) -> Figure:
    """A twig that hangs into a corner of the picture."""
    figure, green = Figure(), rng.choice(GREENS)
    corner = complex(rng.choice((0, width)), rng.choice((0, height)))
    inwards = complex(width / 2, height / 2) - corner
    for i in range(11):
        base = corner + inwards * 0.035 * i
        tip = base + inwards * 0.24 * complex(1, (1.1 if i % 2 else -1.1) * rng.uniform(0.5, 1.2))
        side = (tip - base) * 0.2j
        middle = (base + tip) / 2
        outline = blob(base, middle - side, tip, middle + side)
        figure.part(outline, Fill(times(green, rng.uniform(0.6, 1)), (), 1.2, 0.04, 0.5), tip - base)
    return figure


def _light(rng: random.Random, outdoors: bool) -> Light:
    warmth, level = rng.gauss(0, 0.08), rng.triangular(0.7, 1.25, 1.1)
    tint = (level * (1 + warmth), level, level * (1 - warmth))
    return Light(
        complex(rng.uniform(-1, 1), -0.8), tint, rng.uniform(0.3, 0.6) if outdoors else rng.uniform(0.2, 0.4)
    )


def compose(rng: random.Random, width: int, height: int, ground: float) -> Scene:
    """Draws a place of the given size in pixels; `ground` is the height at which an animal would stand."""
    place, outdoors = rng.choice(PLACES)
    horizon = min(ground - 0.04 * height, rng.uniform(0.38, 0.78) * height)
    canvas = place(Stage(rng, (width, height), horizon))
    behind, foreground, thing = Figure(), Figure(), rng.random()
    size = height * rng.uniform(0.05, 0.09)
    x = width * rng.choice((rng.uniform(0.03, 0.2), rng.uniform(0.8, 0.97)))
    if thing < 0.12:
        foreground = _ball(rng, x, min(ground + 0.6 * size, height - 2), size)
    elif thing < 0.2:
        behind = _plant(rng, x, ground - 0.3 * size, 1.5 * size)
    elif thing < 0.25:
        foreground = _fence(rng, width, height) if outdoors else _plant(rng, x, height - 1.0, 1.6 * size)
    elif thing < 0.33 and outdoors:
        foreground = _leaves(rng, width, height)
    return Scene(canvas, _light(rng, outdoors), behind, foreground)
