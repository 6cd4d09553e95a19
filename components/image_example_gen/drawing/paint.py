"""Paints figures on a float32 canvas (3, height, width; 0 to 255): fur, roundness, small sharp details."""

import cmath
import functools
import math
import random
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.figure import Box, Colour, Figure, Flat, Part, Points

Canvas = NDArray[np.float32]

_CONTACT = 0.07  # how far the shadow that a part throws on those below it reaches, as a share of its size


def box_around(points: Points, margin: float, reach: float, width: int, height: int) -> Box | None:
    """The pixels within `margin` of the points, or None if none of them is in the picture.

    The margin grows by the share `reach` of the smaller extent of the points.
    """
    x, y = points.real, points.imag
    low_x, low_y, high_x, high_y = float(x.min()), float(y.min()), float(x.max()), float(y.max())
    margin += reach * min(high_x - low_x, high_y - low_y)
    left, top = max(int(low_x - margin), 0), max(int(low_y - margin), 0)
    right, bottom = min(int(high_x + margin) + 1, width), min(int(high_y + margin) + 1, height)
    return (left, top, right, bottom) if right - left > 2 and bottom - top > 2 else None


def xy(points: Points, left: float = 0, top: float = 0, scale: float = 1) -> list[float]:
    """The points as Pillow wants them: x and y by turns."""
    return ((points - complex(left, top)) * scale).view(np.float64).tolist()


def _planes(colour: Colour) -> Canvas:
    return np.array(colour, np.float32)[:, None, None]


def mask_of(outline: Points, box: Box) -> Image.Image:
    """The inside of an outline in white on black, over the pixels of the box."""
    left, top, right, bottom = box
    mask = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(mask).polygon(xy(outline, left, top), fill=255)
    return mask


def _bell(distance: NDArray[np.floating], width: float) -> Canvas:
    """Rows of weights that fall off with the distance; zero far away, for denormal numbers are slow."""
    weights = np.exp(-((distance / width) ** 2))
    weights[weights < 1e-4] = 0
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


@functools.lru_cache(4096)
def _shrinking(size: int, samples: int) -> Canvas:
    """The matrix that blurs `size` pixels and takes that many samples of them."""
    centres = (np.arange(samples)[:, None] + 0.5) * size / samples
    return _bell(np.arange(size) + 0.5 - centres, 1.4 * size / samples)


@functools.lru_cache(4096)
def _growing(size: int, samples: int) -> Canvas:
    """The matrix that draws a smooth curve of `size` pixels through the samples."""
    return _bell((np.arange(size)[:, None] + 0.5) * samples / size - 0.5 - np.arange(samples), 0.8)


def _product(left: Canvas, right: Canvas) -> Canvas:
    """The matrix product, in pieces so small that OpenBLAS does not wake its other threads for them.

    Waking them costs more than they do here, above all where every core is at work on pictures of its own.
    """
    pieces = left.shape[0] * right.size // 250_000 + 1
    if pieces == 1:
        return left @ right
    return np.concatenate([piece @ right for piece in np.array_split(left, pieces)])


class Painter:
    """Holds the canvas, the direction of the light, and where an animal has been painted already.

    Args:
        canvas: what is painted on, in place.
        light: towards the light, a complex number of length about one.
        rng: where the windows of the textures come from.
    """

    def __init__(self, canvas: Canvas, light: complex, rng: random.Random) -> None:
        self.canvas = canvas
        self.light = light
        self.rng = rng
        self.height, self.width = canvas.shape[1:]
        self.cover = np.zeros(canvas.shape[1:], np.float32)

    def paint(self, figure: Figure) -> None:
        """Paints a figure whose coordinates are pixels."""
        flats: list[Flat] = []  # are painted together
        for item in figure.items:
            if isinstance(item, Flat):
                flats.append(item)
                continue
            self._paint_flats(flats)
            flats = []
            self._paint_part(item)
        self._paint_flats(flats)

    def _paint_part(self, part: Part) -> None:
        fill = part.fill
        box = box_around(part.outline, 2 + min(fill.fuzz, 6), _CONTACT, self.width, self.height)
        if box is None:
            return
        left, top, right, bottom = box
        width, height = right - left, bottom - top
        fuzz = min(max(fill.fuzz, 0.8), 6)
        blurred = mask_of(part.outline, box).filter(ImageFilter.BoxBlur(fuzz))
        inside = np.asarray(blurred, np.float32) * np.float32(1 / 255)
        strands = textures.strands(self.rng, width, height, cmath.phase(part.flow), coarse=fill.fuzz > 3)
        steep = max(fuzz, 1.0)
        alpha = inside * np.float32(steep) + np.float32(0.5 - steep / 2)
        if fill.fuzz > 0.8:
            alpha += (
                strands * (inside - inside * inside) * np.float32(1.4 * steep)
            )  # ragged at the edge alone
        np.minimum(np.maximum(alpha, 0, out=alpha), 1, out=alpha)

        shade, depth = self._modelled(inside, fill.round)
        if fill.texture:
            shade += strands * np.float32(fill.texture)
        colour = _planes(fill.colour)
        for mark in fill.marks:
            amount = mark.amount(box, strands, self.rng)
            colour = colour + amount * (_planes(mark.colour) - colour)
        window, cover = self.canvas[:, top:bottom, left:right], self.cover[top:bottom, left:right]
        nearness = np.maximum(depth - np.float32(0.12), 0)
        stays = (1 - alpha) * (1 - np.float32(0.55) * nearness * cover)
        window *= stays
        window += colour * (shade * alpha)
        np.maximum(cover, alpha, out=cover)

    def _modelled(self, inside: Canvas, roundness: float) -> tuple[Canvas, Canvas]:
        """Light and shade of a part as if it were swollen, and how deep in or near it each pixel lies."""
        height, width = inside.shape
        step = max(1.0, min(width, height) / 12)
        rows, columns = math.ceil(height / step), math.ceil(width / step)
        small = _product(_product(_shrinking(height, rows), inside), _shrinking(width, columns).T)
        lit: Canvas = np.zeros_like(small)
        lit[:, 1:-1] = self.light.real * (small[:, 2:] - small[:, :-2])
        lit[1:-1] += self.light.imag * (small[2:] - small[:-2])
        shade = (roundness * (0.34 * small - 0.8 * lit - 0.31) + 1).astype(np.float32)
        grow_rows, grow_columns = _growing(height, rows), _growing(width, columns).T
        light = _product(grow_rows, _product(shade, grow_columns))
        return light, _product(grow_rows, _product(small, grow_columns))

    def _paint_flats(self, flats: Sequence[Flat]) -> None:
        if not flats:
            return
        points = np.concatenate([flat.outline for flat in flats])
        box = box_around(points, 3, 0, self.width, self.height)
        if box is None:
            return
        left, top, right, bottom = box
        sharp = 3 if (right - left) < 70 else 2
        layer = Image.new("RGBA", ((right - left) * sharp, (bottom - top) * sharp))
        draw = ImageDraw.Draw(layer)
        for flat in flats:
            colour = (*(int(min(max(c, 0), 255)) for c in flat.colour), int(255 * flat.opacity))
            corners = xy(flat.outline, left, top, sharp)
            if flat.width:
                draw.line(corners, fill=colour, width=max(1, round(flat.width * sharp)), joint="curve")
            else:
                draw.polygon(corners, fill=colour)
        pixels = np.asarray(layer.reduce(sharp)).transpose(2, 0, 1).astype(np.float32)
        window = self.canvas[:, top:bottom, left:right]
        window += pixels[3] * np.float32(1 / 255) * (pixels[:3] - window)
