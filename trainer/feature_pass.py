"""The pass that runs the frozen part of the network once on every view of every picture."""

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

from trainer import folding
from trainer.feature_cache import SHARD_PICTURES, FeatureCache, Split
from trainer.views import Views

Extract = Callable[[tf.Tensor], dict[str, np.ndarray]]

_PROGRESS_SECONDS = 1.0
_progress = logging.getLogger("catsdogs.progress")


def extractor(frozen: keras.Model, devices: Sequence[str]) -> Extract:
    """Makes the function that the pass runs.

    Batch normalisation is folded away, and the weights become constants of the graph, which runs on any
    device. Each device works on its share of a batch.

    Args:
        frozen: From pixels, float32 [N, size, size, 3], to features by kind.
        devices: TensorFlow's names, for example `GPU:0`.

    Returns:
        From pixels to features by kind, float32 [N, …].
    """
    shape = [None, *frozen.input_shape[1:]]
    network = folding.folded(frozen)
    traced = tf.function(lambda pixels: network(pixels, training=False)).get_concrete_function(
        tf.TensorSpec(shape, tf.float32)
    )
    kinds = sorted(frozen.output)  # as TensorFlow orders a dictionary's values
    run = convert_variables_to_constants_v2(traced)
    pool = ThreadPoolExecutor(len(devices))

    def on_device(device: str, pixels: tf.Tensor) -> list[np.ndarray]:
        with tf.device(device):
            return [tf.cast(values, tf.float32).numpy() for values in run(pixels)]

    def extract(pixels: tf.Tensor) -> dict[str, np.ndarray]:
        shares = tf.split(pixels, _shares(len(pixels), len(devices)))
        parts = list(pool.map(on_device, devices, shares))
        return {
            kind: np.concatenate(values) for kind, values in zip(kinds, zip(*parts, strict=True), strict=True)
        }

    return extract


def fill(
    cache: FeatureCache,
    split: Split,
    pictures: tf.data.Dataset,
    extractor: Callable[[], Extract],
    views: Views,
    batch_size: int,
) -> None:
    """Makes the shards that a cache lacks.

    Args:
        cache: Where they are kept.
        split: What the pictures are.
        pictures: Pixels uint8 [size, size, 3] and labels float32 [], in an order that does not change.
        extractor: Makes the function of that name, if there is anything to do.
        views: What is made of each picture.
        batch_size: Pictures at once; divides a shard.
    """
    missing = cache.missing(split)
    if not missing:
        _progress.info("features of %s: kept from an earlier training", split.name)
        return
    if len(missing) < split.shards:
        kept = split.shards - len(missing)
        _progress.info("features of %s: goes on, %d of %d shards are there", split.name, kept, split.shards)
    is_missing = np.isin(np.arange(split.shards), missing)
    wanted = (
        pictures.enumerate()
        .filter(lambda position, _: tf.gather(is_missing, position // SHARD_PICTURES))
        .map(lambda _, picture: picture)
        .batch(batch_size)
        .prefetch(tf.data.AUTOTUNE)
    )
    batches = iter(wanted)
    extract, make_views = extractor(), tf.function(views.of)
    told = _Told(split, sum(map(split.pictures_in, missing)))
    for shard in missing:
        views.reseed(shard)
        with cache.writing(split, shard) as add:
            for pixels, labels in itertools.islice(batches, math.ceil(split.pictures_in(shard) / batch_size)):
                for view in make_views(pixels):
                    add(extract(view), labels.numpy())
                told.done(len(pixels))


class _Told:
    """A line of progress now and then."""

    def __init__(self, split: Split, pictures: int) -> None:
        self._split = split
        self._pictures = pictures
        self._done = 0
        self._started = self._last = time.monotonic()

    def done(self, pictures: int) -> None:
        self._done += pictures
        now = time.monotonic()
        if now - self._last < _PROGRESS_SECONDS and self._done < self._pictures:
            return
        self._last = now
        rate = self._done * self._split.views / (now - self._started)
        _progress.info(
            "features of %s: %s of %s pictures, %.0f views/s",
            self._split.name,
            f"{self._done:,}",
            f"{self._pictures:,}",
            rate,
        )


def _shares(pictures: int, devices: int) -> list[int]:
    return [pictures // devices + (device < pictures % devices) for device in range(devices)]
