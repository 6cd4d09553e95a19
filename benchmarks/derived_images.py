"""Derives any number of images from given ones: random crops of the same size, encoded again."""

from __future__ import annotations

import io
import random
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image, ImageOps

from components.image_example_gen.sources.base import Source, SourceImage

SIDE = 256  # pixels
_QUALITY = 85  # of JPEG, 0 to 100
_MIN_CROP = 0.5  # side of the smallest crop, as a fraction of the given image's shorter side


def derive(source: Source, class_names: Sequence[str], count: int, folder: Path) -> None:
    """Writes images to `folder`/<class>/*.jpg, unless the folder exists.

    The folder gets its name when it is complete; a killed call resumes where it stopped. Each image depends
    only on its number and the given images.

    Args:
        source: The given images.
        class_names: Names of the class folders.
        count: Number of images to derive.
        folder: The folder to create.
    """
    if folder.is_dir():
        return
    print(f"Deriving {count:,} images in {folder} …", flush=True)
    unfinished = folder.with_name(f"{folder.name}.part")
    for name in class_names:
        (unfinished / name).mkdir(parents=True, exist_ok=True)
    given = [image for portion in source.portions() for image in source.read(portion)]

    def derive_from(position: int) -> None:
        class_folder = unfinished / class_names[given[position].label]
        paths = [class_folder / f"{number:06}.jpg" for number in range(position, count, len(given))]
        _write_crops(given[position], [path for path in paths if not path.exists()])

    with ThreadPoolExecutor() as pool:
        list(pool.map(derive_from, range(min(count, len(given)))))
    unfinished.rename(folder)


def _write_crops(image: SourceImage, paths: Sequence[Path]) -> None:
    if not paths:
        return
    pixels = Image.open(io.BytesIO(image.read())).convert("RGB")
    for path in paths:
        values = random.Random(path.name)
        side = values.uniform(_MIN_CROP, 1) * min(pixels.size)
        left, top = (values.uniform(0, length - side) for length in pixels.size)
        crop = pixels.resize((SIDE, SIDE), box=(left, top, left + side, top + side))
        temporary_path = path.with_suffix(".part")
        (ImageOps.mirror(crop) if values.random() < 0.5 else crop).save(
            temporary_path, "JPEG", quality=_QUALITY
        )
        temporary_path.rename(path)
