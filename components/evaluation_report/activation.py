"""Where the network looked: the class-activation map of the exported signature, as a layer of colour."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from PIL import Image

from trainer.signatures import CLASS_ACTIVATION_SIGNATURE

_BATCH_SIZE = 8
_FOR, _AGAINST = (214, 40, 40), (46, 108, 196)  # red and blue: told apart by the colour-blind too
_STRONGEST = 0.62  # opacity where the map is at its largest


def maps(model: str, encoded: Sequence[bytes]) -> list[np.ndarray]:
    """Asks a SavedModel for class-activation maps.

    Args:
        model: Its folder.
        encoded: JPEG or PNG bytes.

    Returns:
        float32 [h, w] for each picture: positive where it speaks for the second class.

    Raises:
        ValueError: The model has no such signature.
    """
    signatures = tf.saved_model.load(model).signatures
    if CLASS_ACTIVATION_SIGNATURE not in signatures:
        raise ValueError(f"the model has no signature {CLASS_ACTIVATION_SIGNATURE}")
    ask = signatures[CLASS_ACTIVATION_SIGNATURE]
    found: list[np.ndarray] = []
    for start in range(0, len(encoded), _BATCH_SIZE):
        batch = tf.constant(list(encoded[start : start + _BATCH_SIZE]))
        found += list(ask(image_bytes=batch)["activation"].numpy())
    return found


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
