"""Backgrounds: a meadow, a street, a room and more, out of focus as behind an animal in a photograph."""

import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.coat import blend, times
from components.image_example_gen.drawing.figure import Colour
from components.image_example_gen.drawing.paint import Canvas

GREENS: list[Colour] = [(116, 152, 66), (92, 128, 58), (140, 164, 84), (150, 150, 80)]
_WALLS: list[Colour] = [
    (214, 200, 176), (176, 196, 200), (200, 176, 168), (152, 168, 148), (222, 218, 210), (120, 132, 152),
    (196, 164, 110), (164, 110, 104),
]  # fmt: skip
_FLOORS: list[Colour] = [
    (168, 122, 80),
    (128, 90, 60),
    (196, 160, 116),
    (150, 146, 142),
    (198, 190, 180),
    (110, 84, 84),
]
_CLOTH: list[Colour] = [
    (96, 120, 152),
    (168, 84, 76),
    (110, 134, 100),
    (182, 160, 132),
    (120, 96, 128),
    (84, 88, 96),
]


def _int(colour: Colour) -> tuple[int, int, int]:
    r, g, b = (int(min(max(channel, 0), 255)) for channel in colour)
    return r, g, b


def _sloped(width: int, height: int, top: Colour, bottom: Colour) -> Image.Image:
    """A vertical gradient."""
    ends = Image.new("RGB", (1, 2), _int(top))
    ends.putpixel((0, 1), _int(bottom))
    return ends.resize((width, height), Image.Resampling.BILINEAR)


class Stage:
    """A background in the making, at half size: it is out of focus anyway."""

    def __init__(self, rng: random.Random, size: tuple[int, int], horizon: float) -> None:
        self.rng, self.size = rng, size
        self.width, self.height, self.horizon = size[0] // 2, size[1] // 2, int(horizon / 2)
        self.image = Image.new("RGB", (self.width, self.height))
        self.draw = ImageDraw.Draw(self.image)

    def wall(self, top: Colour, bottom: Colour) -> None:
        """What is above the horizon."""
        self.image.paste(_sloped(self.width, self.horizon + 1, top, bottom), (0, 0))

    def ground(self, far: Colour, near: Colour) -> None:
        """What is below it."""
        self.image.paste(_sloped(self.width, self.height - self.horizon, far, near), (0, self.horizon))

    def soften(self, radius: float) -> None:
        """Puts all that is drawn so far out of focus."""
        self.image = self.image.filter(ImageFilter.BoxBlur(radius / 2))
        self.draw = ImageDraw.Draw(self.image)

    def bumps(self, colour: Colour, low: float, high: float, count: int) -> None:
        """Round things on the horizon: hills, trees, bushes, drifts."""
        for _ in range(count):
            x, r = self.rng.uniform(-0.1, 1.1) * self.width, self.rng.uniform(low, high) * self.height
            shade = _int(times(colour, self.rng.uniform(0.8, 1.15)))
            y = self.horizon
            self.draw.ellipse((x - 1.3 * r, y - r, x + 1.3 * r, y + 0.7 * r), fill=shade)

    def lamps(self, colours: list[Colour], count: int) -> None:
        """Lights out of focus."""
        for _ in range(count):
            x, y = self.rng.random() * self.width, self.rng.random() * self.horizon
            r = self.rng.uniform(0.01, 0.045) * self.height
            self.draw.ellipse((x - r, y - r, x + r, y + r), fill=_int(self.rng.choice(colours)))

    def finished(self, strands: float, clouds: float, size: float, stretch: float) -> Canvas:
        """The picture with texture on the ground, and a little of it on what is behind."""
        width, height = self.size
        horizon = 2 * self.horizon
        texture = np.empty((height, width), np.float32)
        texture[:horizon] = 1 + 0.06 * textures.clouds(self.rng, width, horizon, 40)
        texture[horizon:] = 1 + clouds * textures.clouds(self.rng, width, height - horizon, size, stretch)
        if strands:
            texture[horizon:] += strands * textures.strands(
                self.rng, width, height - horizon, 1.5, coarse=True
            )
        canvas = np.empty((3, height, width), np.float32)
        large = self.image.resize(self.size, Image.Resampling.BILINEAR)
        for plane, channel in zip(canvas, large.split(), strict=True):
            np.multiply(np.asarray(channel), texture, out=plane)
        return canvas


def _meadow(stage: Stage) -> Canvas:
    rng, green = stage.rng, stage.rng.choice(GREENS)
    stage.wall((120, 168, 216), (206, 222, 228))
    stage.bumps(times(green, 0.75), 0.08, 0.3, rng.randrange(2, 7))
    stage.ground(times(green, 0.9), times(green, 1.08))
    stage.soften(rng.uniform(2, 6))
    return stage.finished(0.22, 0.14, 26, 2.5)


def _autumn(stage: Stage) -> Canvas:
    rng = stage.rng
    stage.wall((196, 186, 170), (214, 190, 150))
    for colour in ((176, 104, 48), (196, 148, 62), (126, 86, 54)):
        stage.bumps(colour, 0.1, 0.35, 3)
    stage.ground((150, 112, 66), (168, 118, 62))
    stage.soften(rng.uniform(3, 6))
    for _ in range(36):
        x, y = rng.random() * stage.width, stage.horizon + rng.random() * (stage.height - stage.horizon)
        stage.draw.ellipse(
            (x, y, x + 3, y + 1), fill=_int(rng.choice([(196, 92, 40), (212, 160, 62), (130, 76, 40)]))
        )
    return stage.finished(0.12, 0.16, 14, 2)


def _beach(stage: Stage) -> Canvas:
    stage.wall((124, 178, 218), (220, 230, 228))
    y = stage.horizon
    stage.draw.rectangle((0, y - 0.14 * stage.height, stage.width, y), fill=(78, 140, 166))
    stage.draw.rectangle((0, y - 0.02 * stage.height, stage.width, y), fill=(232, 236, 230))
    stage.ground((214, 190, 148), (226, 204, 162))
    stage.soften(stage.rng.uniform(1, 3))
    return stage.finished(0, 0.1, 12, 4)


def _snow(stage: Stage) -> Canvas:
    stage.wall((168, 186, 206), (222, 228, 236))
    stage.bumps((92, 108, 106), 0.1, 0.3, stage.rng.randrange(3, 8))
    stage.bumps((226, 232, 240), 0.04, 0.1, 5)
    stage.ground((218, 226, 238), (236, 240, 246))
    stage.soften(stage.rng.uniform(2, 5))
    return stage.finished(0, 0.07, 30, 3)


def _street(stage: Stage) -> Canvas:
    rng = stage.rng
    stage.wall((150, 160, 172), (190, 188, 184))
    x = 0.0
    while x < stage.width:
        wide = rng.uniform(0.12, 0.3) * stage.width
        colour, top = rng.choice(_WALLS), rng.uniform(0, 0.4) * stage.horizon
        stage.draw.rectangle((x, top, x + wide, stage.horizon), fill=_int(times(colour, 0.85)))
        for i in range(6):
            u, v = x + wide * (0.2 + 0.4 * (i % 2)), top + (stage.horizon - top) * (0.12 + 0.28 * (i // 2))
            stage.draw.rectangle((u, v, u + 0.2 * wide, v + 0.16 * (stage.horizon - top)), fill=(70, 82, 96))
        x += wide
    stage.ground((136, 134, 132), (156, 152, 148))
    stage.soften(rng.uniform(1.5, 4))
    return stage.finished(0, 0.1, 8, 2)


def _night(stage: Stage) -> Canvas:
    stage.wall((34, 40, 66), (64, 62, 84))
    stage.bumps((40, 44, 56), 0.1, 0.4, 4)
    stage.lamps([(255, 206, 120), (250, 150, 90), (190, 210, 250), (240, 110, 100)], 14)
    stage.ground((72, 72, 84), (96, 92, 98))
    stage.soften(stage.rng.uniform(1.5, 3))
    return stage.finished(0, 0.12, 10, 3)


def _room(stage: Stage) -> Canvas:
    rng, wall, floor = stage.rng, stage.rng.choice(_WALLS), stage.rng.choice(_FLOORS)
    width, y = stage.width, stage.horizon
    stage.wall(times(wall, 0.96), times(wall, 0.86))
    paper = rng.random()
    if paper < 0.35:
        step = rng.uniform(0.04, 0.09) * width
        for i in range(int(width / step) + 1):
            stage.draw.rectangle((i * step, 0, i * step + step / 2, y), fill=_int(times(wall, 0.86)))
    elif paper < 0.6:
        step = rng.uniform(0.07, 0.12) * width
        for i in range(int(width / step) + 1):
            for j in range(int(y / step) + 1):
                u, v = (i + 0.5 * (j % 2)) * step, j * step
                stage.draw.ellipse((u, v, u + step / 3, v + step / 3), fill=_int(times(wall, 1.12)))
    if rng.random() < 0.6:
        u, v, w, h = rng.uniform(-0.05, 0.7) * width, rng.uniform(0, 0.2) * y, 0.34 * width, 0.6 * y
        view = blend((178, 208, 232), rng.choice(GREENS), rng.uniform(0, 0.6))
        stage.draw.rectangle((u - 3, v - 3, u + w + 3, v + h + 3), fill=(236, 232, 224))
        stage.draw.rectangle((u, v, u + w, v + h), fill=_int(view))
        stage.draw.rectangle((u + w / 2 - 1, v, u + w / 2 + 1, v + h), fill=(236, 232, 224))
    stage.ground(times(floor, 0.85), times(floor, 1.05))
    stage.draw.rectangle((0, y - 3, width, y), fill=_int(times(wall, 1.08)))
    for i in range(-8, 9):
        stage.draw.line(
            (width / 2 + i * width / 9, y, width / 2 + i * width / 4, stage.height),
            fill=_int(times(floor, 0.76)),
        )
    if rng.random() < 0.4:
        rug = _int(rng.choice(_CLOTH))
        stage.draw.ellipse(
            (-0.05 * width, y + 0.25 * (stage.height - y), 1.05 * width, stage.height * 1.1), fill=rug
        )
    stage.soften(rng.uniform(0.8, 3))
    return stage.finished(0, 0.07, 9, 5)


def _sofa(stage: Stage) -> Canvas:
    rng, wall, cloth = stage.rng, stage.rng.choice(_WALLS), stage.rng.choice(_CLOTH)
    width, y = stage.width, stage.horizon
    stage.wall(wall, times(wall, 0.88))
    stage.draw.rounded_rectangle((-10, 0.3 * y, width + 10, y + 20), 12, fill=_int(times(cloth, 0.86)))
    for i in range(1, rng.randrange(2, 4)):
        x = width * i / 3
        stage.draw.line((x, 0.32 * y, x, y), fill=_int(times(cloth, 0.6)), width=2)
    stage.ground(times(cloth, 0.8), times(cloth, 1.15))
    stage.draw.line((0, y, width, y), fill=_int(times(cloth, 0.5)), width=2)
    if rng.random() < 0.5:
        x, r = rng.random() * width, 0.18 * width
        stage.draw.rounded_rectangle(
            (x - r, y - 1.3 * r, x + r, y + 0.2 * r), 8, fill=_int(rng.choice(_CLOTH))
        )
    stage.soften(rng.uniform(1, 2.5))
    return stage.finished(0.07, 0.06, 20, 2)


PLACES: list[tuple[Callable[[Stage], Canvas], bool]] = [
    (_meadow, True), (_meadow, True), (_autumn, True), (_beach, True), (_snow, True), (_street, True),
    (_night, True),
    (_room, False), (_room, False), (_room, False), (_sofa, False), (_sofa, False),
]  # fmt: skip
