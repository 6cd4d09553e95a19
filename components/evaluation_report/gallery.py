"""Thumbnails of the pictures worth a look, plain and with what the network looked at."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image

from components.evaluation_report import activation
from components.evaluation_report.json_values import Facts
from trainer import features

SIZE = 224  # pixels, of the longer side
_QUALITY = 78
_MAX_BYTES = 40_000  # of one thumbnail: 24 pictures, twice each, stay below 3 MB as base64

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Illustration:
    """What is shown of one picture.

    Attributes:
        picture: A data URI.
        looked: The same with the class-activation map over it; empty where there is none.
        width: Of both, in pixels.
        height: Of both, in pixels.
    """

    picture: str
    looked: str
    width: int
    height: int


def illustrate(gallery: Facts, files: list[str], model: str, second_class: str) -> dict[str, Illustration]:
    """Draws the thumbnails.

    Args:
        gallery: Which pictures, as `prediction_facts` chose them.
        files: The TFRecords of `test`.
        model: Folder of the SavedModel.
        second_class: Name of the class that positive activations speak for.

    Returns:
        One for each digest; those that cannot be found or decoded are left out.
    """
    answers = {one["digest"]: one["answer"] for kind in ("mistakes", "uncertain") for one in gallery[kind]}
    encoded = read(files, set(answers))
    maps = _maps(model, encoded) if encoded else {}
    drawn = {}
    for digest, data in encoded.items():
        try:
            drawn[digest] = draw(data, _towards(answers[digest] == second_class, maps.get(digest)))
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            _log.warning("The picture %s is not shown, for it cannot be drawn: %s", digest, error)
    return drawn


def read(files: list[str], digests: set[str]) -> dict[str, bytes]:
    """Returns the stored bytes of pictures by digest; what else the TFRecords hold passes by."""
    found: dict[str, bytes] = {}
    for file in sorted(files):
        if len(found) == len(digests):
            break
        compression = "GZIP" if file.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(file, compression_type=compression).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            digest = feature[features.DIGEST].bytes_list.value[0].decode()
            if digest in digests:
                found[digest] = feature[features.ENCODED].bytes_list.value[0]
    return found


def draw(data: bytes, towards_answer: np.ndarray | None) -> Illustration:
    """Returns the thumbnails of one picture.

    Args:
        data: JPEG or PNG bytes.
        towards_answer: Its activation map, positive for the answer given; None where there is none.

    Raises:
        OSError: The bytes cannot be decoded.
    """
    with Image.open(io.BytesIO(data)) as stored:
        stored.draft("RGB", (SIZE, SIZE))  # a large JPEG is decoded at a fraction of its size
        picture = stored.convert("RGB")
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    looked = "" if towards_answer is None else _data_uri(activation.laid_over(picture, towards_answer))
    return Illustration(_data_uri(picture), looked, picture.width, picture.height)


def _maps(model: str, encoded: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    try:
        return dict(zip(encoded, activation.maps(model, list(encoded.values())), strict=True))
    except (OSError, ValueError, tf.errors.OpError) as error:
        _log.warning("The gallery does not show where the network looked: %s", error)
        return {}


def _towards(second: bool, found: np.ndarray | None) -> np.ndarray | None:
    return found if found is None or second else -found


def _data_uri(picture: Image.Image) -> str:
    for quality in (_QUALITY, 50, 25):
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= _MAX_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
