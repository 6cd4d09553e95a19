"""Draws blurred backgrounds: landscapes, streets and rooms."""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.outlines import Colour, blend, rgb, times

# Colours of sky and ground (far to near), of objects on the horizon, and of spots on the ground.
_LANDS: dict[str, tuple[list[Colour], list[Colour], list[Colour]]] = {
    "meadow": (
        [(112, 168, 222), (210, 226, 232), (104, 140, 58), (128, 172, 72)],
        [(88, 118, 50), (78, 104, 66)],
        [(236, 226, 120), (232, 232, 226)],
    ),
    "autumn": (
        [(200, 190, 172), (222, 198, 156), (150, 112, 66), (172, 122, 64)],
        [(182, 106, 48), (202, 152, 62), (126, 86, 54)],
        [(202, 94, 40), (220, 166, 62), (130, 76, 40)],
    ),
    "beach": ([(116, 176, 222), (90, 156, 184), (214, 192, 152), (232, 210, 168)], [], [(240, 226, 200)]),
    "snow": (
        [(160, 184, 212), (226, 232, 240), (218, 226, 240), (240, 244, 250)],
        [(84, 106, 104), (200, 210, 222)],
        [],
    ),
    "night": ([(30, 38, 72), (70, 66, 92), (70, 70, 88), (98, 94, 104)], [(40, 44, 58)], []),
}
_LAMPS: list[Colour] = [(255, 206, 120), (250, 150, 90), (190, 210, 250), (240, 110, 100)]
_WALLS: list[Colour] = [
    (220, 204, 176), (176, 200, 204), (208, 178, 168), (152, 172, 148), (226, 220, 210), (120, 134, 158),
    (204, 170, 110), (172, 112, 104),
]  # fmt: skip
_WINDOWS: list[Colour] = [(70, 82, 96), (240, 212, 140)]  # unlit, lit
_FLOORS: list[Colour] = [(176, 126, 80), (134, 92, 60), (202, 164, 116), (150, 146, 142), (112, 84, 84)]
_CLOTHS: list[Colour] = [(96, 122, 158), (176, 84, 76), (110, 138, 100), (186, 162, 132), (124, 96, 132)]


class _Canvas:
    """A background at half size, because it is blurred anyway; the horizon is at `y`."""

    def __init__(self, rng: random.Random, size: tuple[int, int], horizon: float) -> None:
        self.rng = rng
        self.width, self.height, self.y = size[0] // 2, size[1] // 2, int(horizon / 2)
        self.image = Image.new("RGB", (self.width, self.height))
        self.pen = ImageDraw.Draw(self.image)

    def fill(self, high: Colour, low: Colour, far: Colour, near: Colour) -> None:
        """Fills the areas above and below the horizon with gradients."""
        for first, last, top, bottom in ((high, low, 0, self.y), (far, near, self.y, self.height)):
            ends = Image.new("RGB", (1, 2), rgb(first))
            ends.putpixel((0, 1), rgb(last))
            self.image.paste(ends.resize((self.width, bottom - top), Image.Resampling.BILINEAR), (0, top))

    def box(self, left: float, top: float, right: float, bottom: float, colour: Colour) -> None:
        """Draws a rectangle; coordinates are fractions of the width and of the horizon's height."""
        w, h = self.width, self.y
        self.pen.rectangle((left * w, top * h, right * w, bottom * h), fill=rgb(colour))

    def dots(self, colours: list[Colour], top: float, bottom: float, radius: float) -> None:
        """Draws spots between two heights, such as lamps, leaves or flowers."""
        for _ in range(16 if colours else 0):
            x, y = self.rng.random() * self.width, self.rng.uniform(top, bottom)
            r = self.rng.uniform(0.3, 1) * radius
            self.pen.ellipse((x - r, y - 0.8 * r, x + r, y + 0.8 * r), fill=rgb(self.rng.choice(colours)))


def _land(canvas: _Canvas) -> float:
    rng = canvas.rng
    name = rng.choice(["meadow", *_LANDS])
    gradients, hills, spots = _LANDS[name]
    canvas.fill(*gradients)
    for colour in hills * 3:
        x, r = rng.uniform(-0.1, 1.1) * canvas.width, rng.uniform(0.06, 0.32) * canvas.height
        shade = rgb(times(colour, rng.uniform(0.8, 1.15)))
        canvas.pen.chord((x - 1.3 * r, canvas.y - r, x + 1.3 * r, canvas.y + r), 180, 360, fill=shade)
    if name == "night":
        canvas.dots(_LAMPS, 0, canvas.y, 5)
    canvas.dots(spots, canvas.y + 2, canvas.height, 1.6)
    return {"meadow": 0.24, "autumn": 0.12}.get(name, 0)


def _street(canvas: _Canvas) -> float:
    rng, x = canvas.rng, 0.0
    canvas.fill((150, 166, 184), (196, 194, 188), (136, 134, 132), (160, 156, 152))
    while x < 1:
        wide, top = rng.uniform(0.14, 0.3), rng.uniform(0, 0.4)
        canvas.box(x, top, x + wide, 1, times(rng.choice(_WALLS), 0.9))
        for i in range(6):
            u, v = x + wide * (0.2 + 0.4 * (i % 2)), top + (1 - top) * (0.12 + 0.28 * (i // 2))
            canvas.box(u, v, u + 0.2 * wide, v + 0.16 * (1 - top), rng.choice(_WINDOWS))
        x += wide
    return 0


def _room(canvas: _Canvas) -> float:
    rng, wall, floor, cloth = (canvas.rng, *(canvas.rng.choice(kind) for kind in (_WALLS, _FLOORS, _CLOTHS)))
    canvas.fill(times(wall, 0.98), times(wall, 0.86), times(floor, 0.82), times(floor, 1.06))
    if rng.random() < 0.4:
        for i in range(12):
            canvas.box(i / 12, 0, i / 12 + 0.04, 1, times(wall, 0.9))
    if rng.random() < 0.6:
        x, y = rng.uniform(-0.05, 0.7), rng.uniform(0, 0.2)
        canvas.box(x - 0.02, y - 0.03, x + 0.36, y + 0.63, (240, 236, 226))
        for pane in (x, x + 0.18):
            canvas.box(
                pane, y, pane + 0.16, y + 0.6, blend((178, 212, 238), (116, 156, 66), rng.uniform(0, 0.4))
            )
    canvas.box(0, 0.96, 1, 1, times(wall, 1.1))
    middle, y = canvas.width / 2, canvas.y
    for i in range(-8, 9):
        board = (middle + i * canvas.width / 9, y, middle + i * canvas.width / 4, canvas.height)
        canvas.pen.line(board, fill=rgb(times(floor, 0.76)))
    furniture = rng.random()
    if furniture < 0.4:
        rug = (-0.05 * canvas.width, y + 0.25 * (canvas.height - y), 1.05 * canvas.width, 1.1 * canvas.height)
        canvas.pen.ellipse(rug, fill=rgb(cloth), outline=(226, 214, 194), width=2)
    elif furniture < 0.75:
        canvas.pen.rounded_rectangle(
            (-10, 0.3 * y, canvas.width + 10, y + 20), 12, fill=rgb(times(cloth, 0.88))
        )
        canvas.pen.rectangle(
            (0, y, canvas.width, canvas.height), fill=rgb(cloth), outline=rgb(times(cloth, 0.5))
        )
        x, r = rng.random() * canvas.width, 0.18 * canvas.width
        canvas.pen.rounded_rectangle(
            (x - r, y - 1.3 * r, x + r, y + 0.2 * r), 8, fill=rgb(rng.choice(_CLOTHS))
        )
    return 0


def draw_background(rng: random.Random, size: tuple[int, int], ground: float) -> Image.Image:
    """Draws a random RGB background of a size in pixels for an animal standing at height `ground`."""
    canvas = _Canvas(rng, size, min(ground - 0.06 * size[1], rng.uniform(0.38, 0.78) * size[1]))
    grass = rng.choice((_land, _land, _land, _street, _room, _room))(canvas)
    blurred = canvas.image.filter(ImageFilter.BoxBlur(rng.uniform(0.5, 2.2)))
    image, horizon = blurred.resize(size, Image.Resampling.BILINEAR), 2 * canvas.y
    below = (size[0], size[1] - horizon)
    texture = 1 + np.float32(0.11) * textures.window("clouds", rng, below)
    if grass:
        texture += np.float32(grass) * textures.window("strands", rng, below, zoom=2)
    lower = textures.shaded(image.crop((0, horizon, *size)), [texture] * 3)
    image.paste(lower, (0, horizon))
    return image
