"""Random changes of training pictures."""

from __future__ import annotations

from typing import Any

import keras

from trainer.training_config import AugmentationConfig


def random_changes(settings: AugmentationConfig, seed: int) -> list[keras.layers.Layer]:
    """Returns layers from pixels, float32 [N, size, size, 3] in 0…255, to pixels; active in training only.

    Args:
        settings: Which, and how strong.
        seed: Of the first layer; each further one has the next.
    """
    exact: dict[str, Any] = {"dtype": "float32"}  # pixels are not rounded, whatever the network computes in
    reflected: dict[str, Any] = {"fill_mode": "reflect", **exact}
    changes: list[keras.layers.Layer] = []
    if settings.flip:
        changes.append(keras.layers.RandomFlip("horizontal", seed=seed, **exact))
    if settings.rotation:
        changes.append(keras.layers.RandomRotation(settings.rotation, seed=seed + 1, **reflected))
    if settings.zoom:
        changes.append(keras.layers.RandomZoom(settings.zoom, seed=seed + 2, **reflected))
    if settings.contrast:
        changes.append(
            keras.layers.RandomContrast(settings.contrast, value_range=(0, 255), seed=seed + 3, **exact)
        )
    return changes
