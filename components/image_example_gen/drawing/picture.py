"""One picture: a place, an animal in it, light and the small faults of a photograph."""

import io
import math
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.cat import Cat
from components.image_example_gen.drawing.coat import Coat
from components.image_example_gen.drawing.dog import Dog
from components.image_example_gen.drawing.figure import Figure, Placement, ellipse
from components.image_example_gen.drawing.paint import Canvas, Painter, box_around, xy
from components.image_example_gen.drawing.poses import POSES, Animal, portrait
from components.image_example_gen.drawing.scene import Light, compose

CAT, DOG = 0, 1

_AREA = 65_000
_QUALITY = 88
_COARSE = 4  # pixels to one of the mask of a shadow


def draw(index: int, seed: int, label: int) -> Image.Image:
    """Draws picture `index` of the endless series that `seed` names.

    Frame, place, light, pose, coat, size and position come from `(seed, index)` alone; the label decides only
    which animal is drawn there. So nothing but the animal can tell the classes apart. The pictures of both
    labels for one index share all the rest: take one label per index for a data set.

    Args:
        index: which picture, from 0.
        seed: names the series.
        label: 0 for a cat, 1 for a dog.

    Returns:
        An RGB picture of about 65,000 pixels, between 3:4 upright and 3:2 across. It depends on the arguments
        (and the versions of Pillow and NumPy) alone, not on the process or on what was drawn before.

    Raises:
        ValueError: if the label is neither 0 nor 1.
    """
    if label not in (CAT, DOG):
        raise ValueError(f"The label must be 0 (cat) or 1 (dog), not {label!r}.")
    rng = random.Random(f"picture {seed} {index}")
    width, height = _frame(rng)
    pose = rng.choice(POSES)
    ground = height * rng.uniform(0.8, 0.96)
    scene = compose(rng, width, height, ground)
    coat = Coat.sample(rng)
    faults = random.Random(rng.random())

    own = random.Random(f"animal {seed} {index} {label}")
    animal: Animal = Cat.sample(coat, own) if label == CAT else Dog.sample(coat, own)
    figure = _placed(pose(animal, own), rng, width, height, ground, close=pose is portrait)

    painter = Painter(scene.canvas, scene.light.towards, own)
    painter.paint(scene.behind)
    if pose is not portrait:
        _cast_shadow(scene.canvas, figure, ground, scene.light)
    painter.cover[:] = 0
    painter.paint(figure)
    painter.paint(scene.foreground)
    return _developed(scene.canvas, scene.light, faults)


def jpeg(index: int, seed: int, label: int) -> bytes:
    """The picture of `draw` as a JPEG file; the same arguments give the same bytes."""
    buffer = io.BytesIO()
    draw(index, seed, label).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _frame(rng: random.Random) -> tuple[int, int]:
    ratio = rng.choice((3 / 4, 4 / 5, 1, 5 / 4, 4 / 3, 4 / 3, 4 / 3, 3 / 2)) * rng.uniform(0.96, 1.04)
    width = math.sqrt(_AREA * ratio)
    return round(width), round(_AREA / width)


def _placed(
    figure: Figure, rng: random.Random, width: int, height: int, ground: float, close: bool
) -> Figure:
    """The figure in pixels: mirrored or not, tilted a little, as large as the rng decides, on the ground."""
    flip, tilt, size, across = rng.random() < 0.5, rng.gauss(0, 0.03), rng.random(), rng.random()
    left, top, right, bottom = figure.bounds()
    if flip:
        left, right = -right, -left
    if close:
        scale = min(width, height) * (0.24 + 0.11 * size)
        at = complex(width * (0.4 + 0.2 * across), height * 0.1 + (1.3 + 0.2 * across) * scale)
        return figure.placed(Placement(scale * complex(math.cos(2 * tilt), math.sin(2 * tilt)), at, flip))
    share = 0.68 + 0.34 * size
    scale = share * min(width / (right - left), ground * 0.98 / (bottom - top))
    room = width - scale * (right - left)
    x = room * (0.5 + 0.7 * (across - 0.5)) - scale * left
    factor = scale * complex(math.cos(tilt), math.sin(tilt))
    return figure.placed(Placement(factor, complex(x, ground), flip))


def _cast_shadow(canvas: Canvas, figure: Figure, ground: float, light: Light) -> None:
    """Darkens the ground under a figure, to the side away from the light."""
    left, _, right, _ = figure.bounds()
    centre, reach = (left + right) / 2, (right - left) / 2
    lean = -0.5 * light.towards.real * reach
    outer = ellipse(complex(centre + lean / 2, ground), reach + abs(lean) / 2, 0.13 * reach)
    box = box_around(outer, 10, 0, canvas.shape[2], canvas.shape[1])
    if box is None:
        return
    left_edge, top, right_edge, bottom = box
    size = (right_edge - left_edge, bottom - top)
    mask = Image.new("L", (size[0] // _COARSE + 1, size[1] // _COARSE + 1))
    pen = ImageDraw.Draw(mask)
    for spread, tone in ((1.0, 110), (0.8, 200)):
        inner = (outer - outer.mean()) * spread + outer.mean()
        pen.polygon(xy(inner, left_edge, top, 1 / _COARSE), fill=tone)
    soft = mask.filter(ImageFilter.BoxBlur(1.5)).resize(size, Image.Resampling.BILINEAR)
    shade = 1 - np.asarray(soft, np.float32) * np.float32(light.shadow / 200)
    canvas[:, top:bottom, left_edge:right_edge] *= shade


def _developed(canvas: Canvas, light: Light, rng: random.Random) -> Image.Image:
    """Tints the light, lets it fall off to one side and to the edges, adds grain and, at times, blur."""
    height, width = canvas.shape[1:]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)
    lean, fall = rng.gauss(0, 0.1), rng.uniform(0, 0.18)
    level = (1 + lean * x - fall * x * x)[None, :] * (1 + rng.gauss(0, 0.06) * y - fall * y * y)[:, None]
    for channel, tint in zip(canvas, light.tint, strict=True):
        channel *= level * np.float32(tint)
    canvas += rng.uniform(2, 9) * textures.grain(rng, width, height)
    pixels = np.clip(canvas, 0, 255, out=canvas).astype(np.uint8)
    image = Image.merge("RGB", [Image.fromarray(channel) for channel in pixels])
    if rng.random() < 0.15:
        image = image.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 0.8)))
    return image
