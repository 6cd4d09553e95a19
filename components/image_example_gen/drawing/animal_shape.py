"""The shape of an animal, made of furry parts and small sharp details, and its painting into an image."""

import random
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from components.image_example_gen.drawing import textures
from components.image_example_gen.drawing.coat import Coat
from components.image_example_gen.drawing.outlines import Colour, Points, rgb, tufted

_SHARP = 2  # oversampling in each direction; details are oversampled one step more
_COARSE = 2  # pixels of the image per pixel of the relief


@dataclass(frozen=True)
class _Part:
    outline: Points
    colour: Colour
    fur: float
    flow: complex
    patterned: bool
    raised: bool


@dataclass(frozen=True)
class _Detail:
    outline: Points
    colour: Colour
    width: float  # of a line; 0 for a filled outline
    opacity: float


@dataclass
class AnimalShape:
    """Parts in painting order, details painted over all parts, and the centre of the head."""

    parts: list[_Part] = field(default_factory=list)
    details: list[_Detail] = field(default_factory=list)
    centre: complex = 0j

    def part(
        self,
        outline: Points,
        colour: Colour,
        fur: float = 0,
        flow: complex = 1j,
        *,
        patterned: bool = True,
        raised: bool = True,
    ) -> None:
        """Adds a solid, shaded part with fur of length `fur` along `flow`.

        A part that is not `raised` is a marking on the one before it.
        """
        self.parts.append(_Part(outline, colour, fur, flow, patterned, raised))

    def flat(self, outline: Points, colour: Colour, opacity: float = 1) -> None:
        """Adds a filled detail."""
        self.line(outline, colour, 0, opacity)

    def line(self, outline: Points, colour: Colour, width: float, opacity: float = 1) -> None:
        """Adds a line, or a filled detail if `width` is 0."""
        self.details.append(_Detail(outline, colour, width, opacity))

    def add(self, other: Self, factor: complex, shift: complex, flip: bool = False) -> None:
        """Adds another shape: mirrored if `flip`, rotated and scaled by `factor`, and moved by `shift`."""

        def transform(z: Points) -> Points:
            return (-z.conj() if flip else z) * factor + shift

        scale = abs(factor)
        for part in other.parts:
            flow = (-part.flow.conjugate() if flip else part.flow) * factor
            outline, fur = transform(part.outline), part.fur * scale
            self.parts.append(_Part(outline, part.colour, fur, flow, part.patterned, part.raised))
        for detail in other.details:
            self.line(transform(detail.outline), detail.colour, detail.width * scale, detail.opacity)

    def bounds(self) -> tuple[float, float, float, float]:
        """Returns left, top, right and bottom of the parts."""
        return _bounds([part.outline for part in self.parts])


def _bounds(outlines: list[Points]) -> tuple[float, float, float, float]:
    points = np.concatenate(outlines)
    x, y = points.real, points.imag
    return float(x.min()), float(y.min()), float(x.max()), float(y.max())


def _box(outlines: list[Points], margin: float, image: Image.Image) -> tuple[int, int, int, int] | None:
    """Returns the box of the image around the outlines; None if it is empty."""
    left, top, right, bottom = _bounds(outlines)
    box = (
        max(int(left - margin), 0),
        max(int(top - margin), 0),
        min(int(right + margin) + 1, image.width),
        min(int(bottom + margin) + 1, image.height),
    )
    return box if box[2] - box[0] > 2 and box[3] - box[1] > 2 else None


def _xy(points: Points, origin: complex, scale: int) -> list[float]:
    return ((points - origin) * scale).view(np.float64).tolist()


def paint(
    image: Image.Image, shape: AnimalShape, coat: Coat | None, unit: float, light: complex, rng: random.Random
) -> None:
    """Paints a shape with pixel coordinates into the image.

    Args:
        image: RGB; changed in place.
        shape: Shape to paint.
        coat: Pattern of the parts; without one they are smooth.
        unit: Pixels per unit of the shape; sets the scale of shading and pattern.
        light: Direction towards the light; length about 1.
        rng: Source of randomness for fur and pattern.
    """
    box = _box([part.outline for part in shape.parts], 3, image)
    if box is not None:
        _paint_parts(image, shape.parts, box, coat, unit, light, rng)
    box = _box([detail.outline for detail in shape.details], 3, image) if shape.details else None
    if box is not None:
        _paint_details(image, shape.details, box)


def _paint_parts(
    image: Image.Image,
    parts: list[_Part],
    box: tuple[int, int, int, int],
    coat: Coat | None,
    unit: float,
    light: complex,
    rng: random.Random,
) -> None:
    origin, size = complex(*box[:2]), (box[2] - box[0], box[3] - box[1])
    numbers = Image.new("L", (_SHARP * size[0], _SHARP * size[1]))  # number of the visible part, from 1
    pen, near = ImageDraw.Draw(numbers), 100.0
    colours, tones, patterned = [rgb(parts[0].colour)], [10], [0]
    for number, part in enumerate(parts, 1):
        outline = part.outline
        if part.fur > 0.6:
            spacing = max(0.5 * part.fur, 1.2)
            outline = tufted(outline, part.fur, spacing, part.flow, rng.getrandbits(12))
        pen.polygon(_xy(outline, origin, _SHARP), fill=number)
        near += part.raised * 140 / len(parts)
        colours.append(rgb(part.colour))
        tones.append(int(near))
        patterned.append(255 * part.patterned)
    rest = 256 - len(tones)

    relief = numbers.point(tones + [0] * rest).reduce(_SHARP * _COARSE)
    shade = np.array(_shading(relief, unit, light).resize(size, Image.Resampling.BILINEAR))
    if coat:
        shade += np.float32(0.13) * textures.window("strands", rng, size)
    cover = numbers.point([0] + [255] * 255).reduce(_SHARP)
    numbers.putpalette([channel for colour in colours for channel in colour])
    factors = [shade] * 3
    if coat and coat.pattern:
        where = np.asarray(numbers.point(patterned + [0] * rest, "L").reduce(_SHARP)) * np.float32(1 / 255)
        amount = where * coat.amount(rng, size, unit)
        factors = [shade * (1 - amount * np.float32(1 - tone)) for tone in coat.tone]
    image.paste(textures.shaded(numbers.convert("RGB").reduce(_SHARP), factors), box, cover)


def _shading(relief: Image.Image, unit: float, light: complex) -> Image.Image:
    """Returns the brightness of each pixel of the relief, about 1, as if every part were rounded."""
    shade = np.ones((relief.height, relief.width), np.float32)
    for radius, strength in ((0.07, 0.5), (0.3, 1.3)):
        reach = max(radius * unit / _COARSE, 0.8)
        blur = ImageFilter.BoxBlur(reach)
        soft = np.asarray(relief.filter(blur).filter(blur), np.float32)
        slope = np.zeros_like(soft)
        slope[:, 1:-1] = light.real * (soft[:, 2:] - soft[:, :-2])
        slope[1:-1] += light.imag * (soft[2:] - soft[:-2])
        shade -= slope * np.float32(strength * reach / 255)
    return Image.fromarray(shade.clip(0.42, 1.22))


def _paint_details(image: Image.Image, details: list[_Detail], box: tuple[int, int, int, int]) -> None:
    sharp, origin = _SHARP + 1, complex(*box[:2])
    layer = Image.new("RGBA", ((box[2] - box[0]) * sharp, (box[3] - box[1]) * sharp))
    pen = ImageDraw.Draw(layer)
    for detail in details:
        colour, corners = (*rgb(detail.colour), int(255 * detail.opacity)), _xy(detail.outline, origin, sharp)
        if detail.width:
            pen.line(corners, fill=colour, width=max(1, round(detail.width * sharp)), joint="curve")
        else:
            pen.polygon(corners, fill=colour)
    small = layer.reduce(sharp)
    image.paste(small.convert("RGB"), box, small.getchannel("A"))
