"""Runs the frozen part of the network once over every view of every image, to fill the feature cache."""

from __future__ import annotations

import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from trainer.augmentation import AugmentedViews
from trainer.batch_norm_folding import fold_batch_norm
from trainer.feature_cache import SHARD_IMAGES, CachedSplit, FeatureCache

Extractor = Callable[[tf.Tensor], dict[str, np.ndarray]]

_PROGRESS_SECONDS = 1.0
_progress = logging.getLogger("catsdogs.progress")


def build_extractor(frozen_part: keras.Model, devices: Sequence[str]) -> Extractor:
    """Builds the function that computes features.

    Folds batch normalisation and freezes the weights into constants of a graph that runs on any device. Each
    device computes its share of a batch.

    Args:
        frozen_part: From pixels, float32 [N, size, size, 3], to a dictionary of features.
        devices: TensorFlow device names, for example `GPU:0`.

    Returns:
        A function from pixels to features by name, float32 [N, …].
    """
    shape = [None, *frozen_part.input_shape[1:]]
    network = fold_batch_norm(frozen_part)
    traced = tf.function(lambda pixels: network(pixels, training=False)).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    )
    names = sorted(frozen_part.output)  # TensorFlow flattens a dictionary in this order
    run = convert_variables_to_constants_v2(traced)
    pool = ThreadPoolExecutor(len(devices))

    def on_device(device: str, pixels: tf.Tensor) -> list[np.ndarray]:
        with tf.device(device):
            return [tf.cast(values, tf.float32).numpy() for values in run(pixels)]

    def extract(pixels: tf.Tensor) -> dict[str, np.ndarray]:
        shares = tf.split(pixels, _share_sizes(len(pixels), len(devices)))
        results = list(pool.map(on_device, devices, shares))
        return {
            name: np.concatenate(values)
            for name, values in zip(names, zip(*results, strict=True), strict=True)
        }

    return extract


def fill_cache(
    cache: FeatureCache,
    split: CachedSplit,
    images: tf.data.Dataset,
    build_extractor: Callable[[], Extractor],
    views: AugmentedViews,
    batch_size: int,
) -> None:
    """Extracts the shards of a split that a cache lacks.

    Args:
        cache: The cache to write to.
        split: Name and size of the split.
        images: Pixels uint8 [size, size, 3] and labels float32 [], in a fixed order.
        build_extractor: Builds the extractor; called only if a shard is missing.
        views: Produces the augmented views of each image.
        batch_size: Images per batch; must divide the shard size.
    """
    missing = cache.missing(split)
    if not missing:
        _progress.info("features of %s: cached by an earlier training", split.name)
        return
    if len(missing) < split.shards:
        complete = split.shards - len(missing)
        _progress.info("features of %s: resuming with %d of %d shards", split.name, complete, split.shards)
    is_missing = np.isin(np.arange(split.shards), missing)
    batches = iter(
        images.enumerate()
        .filter(lambda position, _: tf.gather(is_missing, position // SHARD_IMAGES))
        .map(lambda _, image_and_label: image_and_label)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    extract, make_views = build_extractor(), tf.function(views.make)
    progress = _Progress(split, sum(map(split.images_in, missing)))
    for shard in missing:
        views.reseed(shard)
        with cache.writing(split, shard) as add:
            for pixels, labels in itertools.islice(batches, math.ceil(split.images_in(shard) / batch_size)):
                for view in make_views(pixels):
                    add(extract(view), labels.numpy())
                progress.advance(len(pixels))


class _Progress:
    """Logs a line of progress about once a second."""

    def __init__(self, split: CachedSplit, images: int) -> None:
        self._split = split
        self._images = images
        self._done = 0
        self._started = self._last_logged = time.monotonic()

    def advance(self, images: int) -> None:
        self._done += images
        now = time.monotonic()
        if now - self._last_logged < _PROGRESS_SECONDS and self._done < self._images:
            return
        self._last_logged = now
        rate = self._done * self._split.views / (now - self._started)
        _progress.info(
            "features of %s: %s of %s images, %.0f views/s",
            self._split.name,
            f"{self._done:,}",
            f"{self._images:,}",
            rate,
        )


def _share_sizes(images: int, devices: int) -> list[int]:
    return [images // devices + (device < images % devices) for device in range(devices)]
