"""Draws one image: background, animal, light and the imperfections of a photograph."""

import cmath
import io
import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.animal_shape import AnimalShape, paint
from components.image_example_gen.drawing.backgrounds import draw_background
from components.image_example_gen.drawing.cat import Cat
from components.image_example_gen.drawing.coat import Coat
from components.image_example_gen.drawing.dog import Dog
from components.image_example_gen.drawing.outlines import curve, ellipse
from components.image_example_gen.drawing.poses import POSES

CAT, DOG = 0, 1

_AREA = 65_000
_QUALITY = 88


def draw(index: int, seed: int, label: int) -> Image.Image:
    """Draws image `index` of the endless series of `seed`.

    Frame, background, light, pose, coat, size and position depend on `(seed, index)` alone, and the label
    selects only the animal, so that nothing else distinguishes the classes. The images of both labels for one
    index share everything else: use one label per index in a data set.

    Args:
        index: Index of the image, from 0.
        seed: Seed of the series.
        label: 0 for a cat, 1 for a dog.

    Returns:
        An RGB image of about 65,000 pixels with an aspect ratio between 3:4 and 3:2. It depends only on the
        arguments and on the versions of Pillow and NumPy.

    Raises:
        ValueError: The label is neither 0 nor 1.
    """
    if label not in (CAT, DOG):
        raise ValueError(f"The label must be 0 (cat) or 1 (dog), not {label!r}.")
    rng = random.Random(f"picture {seed} {index}")
    size = _random_size(rng)
    pose, ground = rng.choice(POSES), size[1] * rng.uniform(0.8, 0.96)
    image = draw_background(rng, size, ground)
    light = complex(rng.uniform(-1, 1), -0.8)
    coat, close = Coat.sample(rng), rng.random() < 0.35
    toy, faults = random.Random(rng.random()), random.Random(rng.random())

    own = random.Random(f"animal {seed} {index} {label}")
    animal = Cat(coat, own) if label == CAT else Dog(coat, own)
    shape, scale = _place_shape(pose(animal, own), rng, size, ground, close)
    if not close:
        _cast_shadow(image, shape, ground, light)
    paint(image, shape, coat, scale, light, own)
    if toy.random() < 0.15:
        _add_ball(image, toy, ground, light)
    return _add_photo_effects(image, faults)


def jpeg(index: int, seed: int, label: int) -> bytes:
    """Returns the image of `draw` as JPEG; the same arguments give the same bytes."""
    buffer = io.BytesIO()
    draw(index, seed, label).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _random_size(rng: random.Random) -> tuple[int, int]:
    ratio = rng.choice((3 / 4, 4 / 5, 1, 5 / 4, 4 / 3, 4 / 3, 4 / 3, 3 / 2)) * rng.uniform(0.96, 1.04)
    width = math.sqrt(_AREA * ratio)
    return round(width), round(_AREA / width)


def _place_shape(
    shape: AnimalShape, rng: random.Random, size: tuple[int, int], ground: float, close: bool
) -> tuple[AnimalShape, float]:
    """Returns the shape in pixels, randomly mirrored, tilted and scaled, and its scale."""
    width, height = size
    flip, tilt, large, across = rng.random() < 0.5, rng.gauss(0, 0.03), rng.random(), rng.random()
    left, top, right, bottom = shape.bounds()
    if flip:
        left, right = -right, -left
    if close:
        scale = min(width, height) * (0.24 + 0.11 * large)
        head = scale * (-shape.centre.conjugate() if flip else shape.centre)
        at = complex(width * (0.4 + 0.2 * across), height * 0.1 + (1.3 + 0.2 * across) * scale) - head
    else:
        scale = (0.4 + 0.6 * large) * min(width / (right - left), ground * 0.98 / (bottom - top))
        room = width - scale * (right - left)
        at = complex(room * (0.5 + 0.7 * (across - 0.5)) - scale * left, ground)
    placed = AnimalShape()
    placed.add(shape, cmath.rect(scale, tilt), at, flip)
    return placed, scale


def _cast_shadow(image: Image.Image, shape: AnimalShape, ground: float, light: complex) -> None:
    """Darkens the ground under a shape, on the side away from the light."""
    left, _, right, _ = shape.bounds()
    reach = (right - left) / 2
    x, rx, ry = (left + right) / 2 - 0.25 * light.real * reach, 1.1 * reach, 0.14 * reach
    shade = Image.new("L", (image.width // 4, image.height // 4))
    pen = ImageDraw.Draw(shade)
    for spread, tone in ((1.0, 55), (0.8, 115)):
        u, v = spread * rx, spread * ry
        pen.ellipse(((x - u) / 4, (ground - v) / 4, (x + u) / 4, (ground + v) / 4), fill=tone)
    soft = shade.filter(ImageFilter.BoxBlur(1.5)).resize(image.size, Image.Resampling.BILINEAR)
    image.paste((18, 16, 22), None, soft)


def _add_ball(image: Image.Image, rng: random.Random, ground: float, light: complex) -> None:
    """Adds a ball on one side; it may cover part of the animal."""
    ball, r = AnimalShape(), image.height * rng.uniform(0.05, 0.09)
    x = image.width * rng.choice((rng.uniform(0.03, 0.2), rng.uniform(0.8, 0.97)))
    centre = complex(x, min(ground + 0.6 * r, image.height - 2) - r)
    ball.part(
        ellipse(centre, r, r), rng.choice([(214, 60, 54), (60, 120, 200), (230, 196, 60), (110, 180, 80)])
    )
    ball.line(curve(centre - 0.9 * r, centre - 0.2j * r, centre + 0.9 * r), (244, 240, 230), 0.2 * r, 0.85)
    paint(image, ball, None, r, light, rng)


def _add_photo_effects(image: Image.Image, rng: random.Random) -> Image.Image:
    """Adds a tint, uneven light, vignetting, grain and sometimes blur."""
    width, height = image.size
    if rng.random() < 0.2:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.4, 1.8)))
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    lean, fall = rng.gauss(0, 0.1), rng.uniform(0, 0.18)
    level = (1 + lean * x - fall * x * x)[None, :] * (1 + rng.gauss(0, 0.06) * y - fall * y * y)[:, None]
    warmth, bright = rng.gauss(0, 0.08), rng.triangular(0.6, 1.2, 1.08)
    tint = (bright * (1 + warmth), bright, bright * (1 - warmth))
    grain = np.float32(rng.uniform(2, 9)) * textures.window("grain", rng, image.size)
    return textures.shaded(image, [level * np.float32(channel) for channel in tint], grain)
