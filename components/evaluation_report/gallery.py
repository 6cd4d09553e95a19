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

from components.evaluation_report.json_values import Facts
from trainer import features
from trainer.signatures import CLASS_ACTIVATION_SIGNATURE

SIZE = 224  # pixels, of the longer side
_QUALITY = 78
_BATCH_SIZE = 8
_FOR, _AGAINST = (214, 40, 40), (46, 108, 196)  # red and blue: told apart by the colour-blind too
_STRONGEST = 0.62  # opacity where the map is at its largest
MAX_BYTES = 40_000  # of one thumbnail: 24 pictures, twice each, stay below 3 MB as base64

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


def illustrate(gallery: Facts, pattern: str, model: str, second_class: str) -> dict[str, Illustration]:
    """Draws the thumbnails.

    Args:
        gallery: Which pictures, as `prediction_facts` chose them.
        pattern: Of the TFRecords of `test`.
        model: Folder of the SavedModel.
        second_class: Name of the class that positive activations speak for.

    Returns:
        One for each digest; those that cannot be found or decoded are left out.
    """
    answers = {one["digest"]: one["answer"] for kind in ("mistakes", "uncertain") for one in gallery[kind]}
    encoded = _read_all(pattern, set(answers))
    maps = _maps(model, encoded) if encoded else {}
    drawn = {}
    for digest, data in encoded.items():
        try:
            drawn[digest] = draw(data, _towards(answers[digest] == second_class, maps.get(digest)))
        except Exception:  # no model is held back for a picture
            _log.exception("The picture %s cannot be drawn, and is not shown.", digest)
    return drawn


def _read_all(pattern: str, digests: set[str]) -> dict[str, bytes]:
    try:
        return read(tf.io.gfile.glob(pattern), digests)
    except Exception:  # as above
        _log.exception("No pictures are shown, for %s cannot be read.", pattern)
        return {}


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
        tf.errors.InvalidArgumentError: The bytes cannot be decoded.
    """
    # As the network gets it: of 16 bits a channel, for one, other libraries make something else.
    picture = Image.fromarray(tf.io.decode_image(data, channels=3, expand_animations=False).numpy())
    picture.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    looked = "" if towards_answer is None else _data_uri(laid_over(picture, towards_answer))
    return Illustration(_data_uri(picture), looked, picture.width, picture.height)


def _maps(model: str, encoded: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Returns class-activation maps, float32 [h, w], by digest, positive for the second class."""
    try:
        ask = tf.saved_model.load(model).signatures[CLASS_ACTIVATION_SIGNATURE]
        pictures = list(encoded.values())
        found: list[np.ndarray] = []
        for start in range(0, len(pictures), _BATCH_SIZE):
            batch = tf.constant(pictures[start : start + _BATCH_SIZE])
            found += list(ask(image_bytes=batch)["activation"].numpy())
        return dict(zip(encoded, found, strict=True))
    except Exception:  # as above
        _log.exception("The gallery does not show where the network looked.")
        return {}


def laid_over(picture: Image.Image, activation: np.ndarray) -> Image.Image:
    """Colours a picture: red where it speaks for the answer, blue where against it.

    Args:
        picture: In RGB, of any size; the network saw it squeezed into a square, and so is the map stretched.
        activation: float [h, w], positive for the answer that was given.
    """
    strongest = float(np.abs(activation).max()) or 1.0
    scaled = Image.fromarray((activation / strongest).astype(np.float32))
    smooth = np.clip(np.asarray(scaled.resize(picture.size, Image.Resampling.BICUBIC)), -1, 1)[..., None]
    colour = np.where(smooth > 0, np.array(_FOR), np.array(_AGAINST))
    opacity = _STRONGEST * np.abs(smooth)
    grey = np.asarray(picture.convert("L").convert("RGB"), np.float32)  # else its own reds would speak too
    return Image.fromarray(np.round(grey * (1 - opacity) + colour * opacity).astype(np.uint8))


def _towards(second: bool, found: np.ndarray | None) -> np.ndarray | None:
    return found if found is None or second else -found


def _data_uri(picture: Image.Image) -> str:
    for quality in (_QUALITY, 50, 25):  # with the last, pure noise of that size takes about half of it
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
