"""Draws a contact sheet of alternating cats and dogs.

python -m components.image_example_gen.drawing docs/images/sample.png --seed 6
"""

import argparse
from pathlib import Path

from PIL import Image

from components.image_example_gen.drawing import draw

_GAP, _HEIGHT = 6, 190  # pixels: between images, and of a row


def contact_sheet(seed: int, rows: int, width: int) -> Image.Image:
    """Returns the first images of `seed` in rows, `width` pixels wide."""
    strips, index = [], 0
    for _ in range(rows):
        strip, x = Image.new("RGB", (2 * width, _HEIGHT), "white"), 0
        while x < width:
            image = draw(index, seed, index % 2)
            wide = round(_HEIGHT * image.width / image.height)
            strip.paste(image.resize((wide, _HEIGHT), Image.Resampling.LANCZOS), (x, 0))
            x, index = x + wide + _GAP, index + 1
        size = (width, round(_HEIGHT * width / (x - _GAP)))
        strips.append(strip.crop((0, 0, x - _GAP, _HEIGHT)).resize(size, Image.Resampling.LANCZOS))
    page = Image.new("RGB", (width, sum(strip.height + _GAP for strip in strips) - _GAP), "white")
    y = 0
    for strip in strips:
        page.paste(strip, (0, y))
        y += strip.height + _GAP
    return page


def main() -> None:
    """Parses the arguments and writes the contact sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="the PNG or JPEG file to write")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--width", type=int, default=1000, help="in pixels")
    arguments = parser.parse_args()
    page = contact_sheet(arguments.seed, arguments.rows, arguments.width)
    if arguments.output.suffix.lower() == ".png":  # 256 colours look the same at a third of the size
        palette = page.quantize(256, Image.Quantize.MAXCOVERAGE)
        page = page.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    page.save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
