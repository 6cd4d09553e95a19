"""Renders the thumbnails and class activation maps of the image gallery."""

from __future__ import annotations

import base64
import io
import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from PIL import Image

from components.evaluation_report.json_values import JsonObject
from trainer import features
from trainer.signatures import CLASS_ACTIVATION_SIGNATURE

SIZE = 224  # pixels, of the longer side
_QUALITY = 78
_BATCH_SIZE = 8
_SUPPORTS, _OPPOSES = (214, 40, 40), (46, 108, 196)  # red and blue: distinguishable with colour blindness
_MAX_OPACITY = 0.62  # of the strongest activation
MAX_BYTES = 40_000  # per thumbnail: 24 images with heatmaps stay below 3 MB as base64

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Thumbnail:
    """The thumbnail of one image.

    Attributes:
        image: JPEG as a data URI.
        heatmap: The image overlaid with its class activation map; empty if there is no map.
        width: Width of both, in pixels.
        height: Height of both, in pixels.
    """

    image: str
    heatmap: str
    width: int
    height: int


def render_thumbnails(
    gallery: JsonObject, pattern: str, model: str, second_class: str
) -> dict[str, Thumbnail]:
    """Renders the thumbnails of the gallery.

    Args:
        gallery: The gallery section of the report.
        pattern: Glob pattern of the TFRecords of the `test` split.
        model: Path of the SavedModel.
        second_class: Name of the class that positive activations support.

    Returns:
        Thumbnails by image digest, without images that are missing or cannot be decoded.
    """
    predicted = {
        entry["digest"]: entry["answer"] for group in ("mistakes", "uncertain") for entry in gallery[group]
    }
    encoded = _read_all(pattern, set(predicted))
    maps = _maps(model, encoded) if encoded else {}
    thumbnails = {}
    for digest, data in encoded.items():
        try:
            thumbnails[digest] = draw_thumbnail(
                data, _for_predicted_class(predicted[digest] == second_class, maps.get(digest))
            )
        except Exception:  # an image must not fail the component
            _log.exception("The thumbnail of image %s could not be rendered.", digest)
    return thumbnails


def _read_all(pattern: str, digests: set[str]) -> dict[str, bytes]:
    try:
        return read(tf.io.gfile.glob(pattern), digests)
    except Exception:  # as above
        _log.exception("The gallery shows no images because %s could not be read.", pattern)
        return {}


def read(files: list[str], digests: set[str]) -> dict[str, bytes]:
    """Returns the encoded bytes of the images with these digests, keyed by digest."""
    encoded: dict[str, bytes] = {}
    for file in sorted(files):
        if len(encoded) == len(digests):
            break
        compression = "GZIP" if file.endswith(".gz") else ""
        for record in tf.data.TFRecordDataset(file, compression_type=compression).as_numpy_iterator():
            feature = tf.train.Example.FromString(record).features.feature
            digest = feature[features.DIGEST].bytes_list.value[0].decode()
            if digest in digests:
                encoded[digest] = feature[features.ENCODED].bytes_list.value[0]
    return encoded


def draw_thumbnail(data: bytes, activation: np.ndarray | None) -> Thumbnail:
    """Returns the thumbnail of one image.

    Args:
        data: JPEG or PNG bytes.
        activation: Class activation map, positive for the predicted class; None if there is none.

    Raises:
        tf.errors.InvalidArgumentError: The bytes cannot be decoded.
    """
    # Decode like the model does: other libraries decode 16-bit images differently.
    image = Image.fromarray(tf.io.decode_image(data, channels=3, expand_animations=False).numpy())
    image.thumbnail((SIZE, SIZE), Image.Resampling.LANCZOS)
    heatmap = "" if activation is None else _data_uri(overlay_heatmap(image, activation))
    return Thumbnail(_data_uri(image), heatmap, image.width, image.height)


def _maps(model: str, encoded: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Returns class activation maps, float32 [h, w], by digest; positive for the second class."""
    try:
        signature = tf.saved_model.load(model).signatures[CLASS_ACTIVATION_SIGNATURE]
        images = list(encoded.values())
        maps: list[np.ndarray] = []
        for start in range(0, len(images), _BATCH_SIZE):
            batch = tf.constant(images[start : start + _BATCH_SIZE])
            maps += list(signature(image_bytes=batch)["activation"].numpy())
        return dict(zip(encoded, maps, strict=True))
    except Exception:  # as above
        _log.exception("The class activation maps could not be computed.")
        return {}


def overlay_heatmap(image: Image.Image, activation: np.ndarray) -> Image.Image:
    """Overlays an image with its class activation map: red supports the prediction, blue opposes it.

    Args:
        image: RGB image of any size. The map is stretched to it, as the model input was resized to a square.
        activation: float [h, w], positive for the predicted class.
    """
    strongest = float(np.abs(activation).max()) or 1.0
    scaled = Image.fromarray((activation / strongest).astype(np.float32))
    smooth = np.clip(np.asarray(scaled.resize(image.size, Image.Resampling.BICUBIC)), -1, 1)[..., None]
    colour = np.where(smooth > 0, np.array(_SUPPORTS), np.array(_OPPOSES))
    opacity = _MAX_OPACITY * np.abs(smooth)
    grey = np.asarray(image.convert("L").convert("RGB"), np.float32)  # only the heatmap has colour
    return Image.fromarray(np.round(grey * (1 - opacity) + colour * opacity).astype(np.uint8))


def _for_predicted_class(is_second: bool, activation: np.ndarray | None) -> np.ndarray | None:
    return activation if activation is None or is_second else -activation


def _data_uri(image: Image.Image) -> str:
    for quality in (_QUALITY, 50, 25):  # even pure noise fits at the lowest quality
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
