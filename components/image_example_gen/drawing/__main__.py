"""Draws a contact sheet: cats and dogs by turns.

python -m components.image_example_gen.drawing docs/images/sample.png --seed 7
"""

import argparse
import itertools
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from components.image_example_gen.drawing import draw

_GAP = 6


def sheet(pictures: Iterator[Image.Image], width: int, rows: int, height: int) -> Image.Image:
    """Lays pictures of any shape out in full rows.

    Args:
        pictures: as many as the rows may need.
        width: of the sheet, in pixels.
        rows: how many.
        height: of a row, in pixels, at most; a row that would be too wide is made lower.
    """
    strips = []
    for _ in range(rows):
        row: list[Image.Image] = []
        while sum(picture.width / picture.height for picture in row) * height < width:
            row.append(next(pictures))
        inner = width - _GAP * (len(row) + 1)
        low = round(inner / sum(picture.width / picture.height for picture in row))
        strip, x = Image.new("RGB", (width, low + _GAP), "white"), _GAP
        for picture in row:
            wide = round(low * picture.width / picture.height)
            strip.paste(picture.resize((wide, low), Image.Resampling.LANCZOS), (x, _GAP))
            x += wide + _GAP
        strips.append(strip)
    page = Image.new("RGB", (width, sum(strip.height for strip in strips) + _GAP), "white")
    y = 0
    for strip in strips:
        page.paste(strip, (0, y))
        y += strip.height
    return page


def main() -> None:
    """Reads the command line and writes the sheet."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="the picture to write, by its ending a PNG or JPEG")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="index of the first picture")
    parser.add_argument("--rows", type=int, default=3)
    parser.add_argument("--width", type=int, default=1000)
    parser.add_argument("--height", type=int, default=190, help="of a row, in pixels, at most")
    arguments = parser.parse_args()
    pictures = (draw(index, arguments.seed, index % 2) for index in itertools.count(arguments.first))
    page = sheet(pictures, arguments.width, arguments.rows, arguments.height)
    if arguments.output.suffix.lower() == ".png":  # 256 colours do, and take a third of the room
        palette = page.quantize(256, Image.Quantize.MAXCOVERAGE)
        page = page.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)
    page.save(arguments.output, optimize=True)


if __name__ == "__main__":
    main()
