"""Random augmentation of the training images, on the fly or as a fixed number of views per image."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from trainer.training_config import AugmentationConfig, TrainingConfig

_DRAWS = 1 << 16  # more than the batches of a shard: each draw advances the generator's counter by 1


def random_layers(config: AugmentationConfig, seed: int) -> list[keras.layers.Layer]:
    """Returns the augmentation layers, which map pixels to pixels and are active in training only.

    Pixels are float32 [N, size, size, 3] in 0…255.

    Args:
        config: The changes to apply and their strength.
        seed: Seed of the first layer; each further layer adds 1.
    """
    exact: dict[str, Any] = {"dtype": "float32"}  # mixed precision must not round the pixels
    reflected: dict[str, Any] = {"fill_mode": "reflect", **exact}
    layers: list[keras.layers.Layer] = []
    if config.flip:
        layers.append(keras.layers.RandomFlip("horizontal", seed=seed, **exact))
    if config.rotation:
        layers.append(keras.layers.RandomRotation(config.rotation, seed=seed + 1, **reflected))
    if config.zoom:
        layers.append(keras.layers.RandomZoom(config.zoom, seed=seed + 2, **reflected))
    if config.contrast:
        layers.append(
            keras.layers.RandomContrast(config.contrast, value_range=(0, 255), seed=seed + 3, **exact)
        )
    return layers


class AugmentedViews:
    """Makes the views of each image that the feature cache stores.

    The first view is the stored image, the second its mirror image, and all further views are augmented at
    random. If `augmentation.flip` is off, the second view is random too.

    Args:
        config: Provides the augmentation and its seed.
        count: Number of views per image: `feature_cache.views` for training images, 1 for `eval`.
    """

    def __init__(self, config: TrainingConfig, count: int) -> None:
        self._mirror = config.augmentation.flip
        self._layers = random_layers(config.augmentation, config.seed)
        self._seed = config.seed
        self.count = count

    def reseed(self, shard: int) -> None:
        """Resets the random state for a shard, so that a resumed extraction makes the same views."""
        for position, layer in enumerate(self._layers):
            layer.generator.state.assign([self._seed + position, shard * _DRAWS])

    def make(self, pixels: tf.Tensor) -> list[tf.Tensor]:
        """Returns the views of a batch.

        Args:
            pixels: uint8 [N, size, size, 3].

        Returns:
            One float32 [N, size, size, 3] in 0…255 per view.
        """
        stored = tf.cast(pixels, tf.float32)
        views = [stored]
        if self._mirror and self.count > 1:
            views.append(tf.reverse(stored, axis=[2]))
        while len(views) < self.count:
            view = stored
            for layer in self._layers:
                view = layer(view, training=True)
            views.append(view)
        return views
