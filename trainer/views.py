"""The views of a training picture that the frozen part of the network sees once each."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer.augmentation import random_changes
from trainer.training_config import TrainingConfig

_DRAWS = 1 << 16  # more than batches in a shard: each draw adds 1 to where the generator stands


class Views:
    """As stored, mirrored, and from the third on changed at random, as the settings of augmentation say.

    Where mirroring is off, the second one is a random one already.

    Args:
        recipe: How many, the augmentation, and its seed.
        count: How many views there are; the recipe's for training pictures, 1 for others.
    """

    def __init__(self, recipe: TrainingConfig, count: int) -> None:
        self._mirrored = recipe.augmentation.flip
        self._changes = random_changes(recipe.augmentation, recipe.seed)
        self._seed = recipe.seed
        self.count = count

    def reseed(self, shard: int) -> None:
        """Starts the random changes of a shard, so that they are the same in a pass that was cut short."""
        for position, change in enumerate(self._changes):
            change.generator.state.assign([self._seed + position, shard * _DRAWS])

    def of(self, pixels: tf.Tensor) -> list[tf.Tensor]:
        """Returns the views of a batch.

        Args:
            pixels: uint8 [N, size, size, 3].

        Returns:
            One float32 [N, size, size, 3] in 0…255 for each view.
        """
        stored = tf.cast(pixels, tf.float32)
        views = [stored]
        if self._mirrored and self.count > 1:
            views.append(tf.reverse(stored, axis=[2]))
        while len(views) < self.count:
            views.append(_changed(stored, self._changes))
        return views


def _changed(pixels: tf.Tensor, changes: list[keras.layers.Layer]) -> tf.Tensor:
    for change in changes:
        pixels = change(pixels, training=True)
    return pixels
