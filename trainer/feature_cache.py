"""Caches the outputs of the network's frozen part on disk, in shards.

A shard holds all views of consecutive images of a split. It is a folder with one TFRecord file per feature,
whose checksums reveal damage, and is renamed into place once complete: a killed extraction resumes at the
first missing shard.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from trainer import stale_files

SHARD_IMAGES = 256
_KEY_FILE = "made_from.json"
_PARALLEL_FILES = 4
_LABEL_BYTES = 4  # float32, in front of the values
_MEGABYTE = 1 << 20

_log = logging.getLogger(__name__)


class CachedSplit(NamedTuple):
    """Name and size of a split in the feature cache.

    Attributes:
        name: `train` or `eval`.
        images: Number of images.
        views: Number of records per image.
    """

    name: str
    images: int
    views: int

    @property
    def shards(self) -> int:
        """Number of shards."""
        return math.ceil(self.images / SHARD_IMAGES)

    @property
    def records(self) -> int:
        """Number of records in all shards."""
        return self.images * self.views

    def images_in(self, shard: int) -> int:
        """Returns the number of images in a shard."""
        return min(SHARD_IMAGES, self.images - shard * SHARD_IMAGES)


class FeatureCache:
    """The cached features of one training's images.

    Creating one removes every other cache under `root` that was not used for a day.

    Args:
        root: Folder of all caches; created if needed.
        key: Everything that the features depend on, as JSON values. Its hash names the cache.
        shapes: Shape of each feature of one image, by feature name.
        dtype: `float16`, which clips at ±65,504, or `float32`.
    """

    def __init__(
        self, root: Path, key: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], dtype: str
    ) -> None:
        self.shapes = dict(shapes)
        self._dtype = np.dtype(dtype)
        self._key = json.dumps(key, sort_keys=True, indent=2)
        self._folder = root / hashlib.sha256(self._key.encode()).hexdigest()[:16]
        others = (folder for folder in root.glob("*") if folder != self._folder)
        stale_files.remove_unused(others, "a feature cache of another training")
        self._open()

    def missing(self, split: CachedSplit) -> list[int]:
        """Removes damaged shards and returns the numbers of all missing shards."""
        return [shard for shard in range(split.shards) if not self._is_complete(split, shard)]

    @contextlib.contextmanager
    def writing(
        self, split: CachedSplit, shard: int
    ) -> Iterator[Callable[[Mapping[str, np.ndarray], np.ndarray], None]]:
        """Writes a shard atomically.

        Args:
            split: The split that the shard belongs to.
            shard: Number of the shard, from 0.

        Yields:
            A function that adds records: features by name, [N, *shape], and their labels, [N].
        """
        unfinished = self._create_unfinished_folder()
        try:
            with contextlib.ExitStack() as open_files:
                writers = {
                    name: open_files.enter_context(tf.io.TFRecordWriter(str(unfinished / name)))
                    for name in self.shapes
                }

                def add(values: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
                    for name, writer in writers.items():
                        compact = _compact(values[name], self._dtype)
                        for label, record in zip(labels.astype(np.float32), compact, strict=True):
                            writer.write(label.tobytes() + record.tobytes())

                yield add
        except BaseException:  # the disk may be full: free the space
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        target = self._shard(split, shard)
        target.parent.mkdir(exist_ok=True)
        _rename(unfinished, target)
        self.touch()

    def touch(self) -> None:
        """Marks the cache as in use, so that other trainings do not remove it."""
        os.utime(self._folder)

    def batches(
        self, name: str, split: CachedSplit, batch_size: int, memory_mb: int, shuffle_seed: int | None = None
    ) -> tf.data.Dataset:
        """Reads one feature of a split.

        Keeps all records in memory if they fit, and reads them from disk in every epoch otherwise.

        Args:
            name: Name of the feature, a key of `shapes`.
            split: The split to read, with all its shards.
            batch_size: Records per batch.
            memory_mb: Megabytes of memory for the records, or for the shuffle buffer if they do not fit.
            shuffle_seed: Shuffles anew in each epoch; None keeps the order.

        Returns:
            Batches of features float32 [N, *shape] and labels float32 [N].
        """
        shape = self.shapes[name]
        record_bytes = _LABEL_BYTES + math.prod(shape) * self._dtype.itemsize
        files = [str(self._shard(split, shard) / name) for shard in range(split.shards)]
        capacity = memory_mb * _MEGABYTE // record_bytes
        if split.records <= capacity:
            records = tf.data.TFRecordDataset(files).cache()
        else:
            _log.info(
                "The %s features of %s exceed %d MB: reading them from disk in every epoch.",
                *(name, split.name, memory_mb),
            )
            paths = tf.data.Dataset.from_tensor_slices(files)
            if shuffle_seed is not None:
                paths = paths.shuffle(len(files), seed=shuffle_seed)
            records = paths.interleave(
                tf.data.TFRecordDataset,
                cycle_length=1 if shuffle_seed is None else _PARALLEL_FILES,
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        records = records.apply(tf.data.experimental.assert_cardinality(split.records))
        if shuffle_seed is not None:
            records = records.shuffle(max(1, min(split.records, capacity)), seed=shuffle_seed)

        def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            labels = tf.io.decode_raw(tf.strings.substr(batch, 0, _LABEL_BYTES), tf.float32)
            values = tf.io.decode_raw(tf.strings.substr(batch, _LABEL_BYTES, record_bytes), self._dtype)
            return tf.reshape(tf.cast(values, tf.float32), [-1, *shape]), labels[:, 0]

        parsed = records.batch(batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        return parsed.prefetch(tf.data.AUTOTUNE)

    def _open(self) -> None:
        key_file = self._folder / _KEY_FILE
        if self._folder.is_dir() and (not key_file.is_file() or key_file.read_bytes() != self._key.encode()):
            _log.warning("The feature cache %s has no valid %s: removed.", self._folder, _KEY_FILE)
            shutil.rmtree(self._folder, ignore_errors=True)
        if not self._folder.is_dir():
            unfinished = self._create_unfinished_folder()
            (unfinished / _KEY_FILE).write_text(self._key, "utf-8")
            _rename(unfinished, self._folder)
        self.touch()

    def _create_unfinished_folder(self) -> Path:
        unfinished = self._folder.with_name(f"unfinished-{uuid.uuid4().hex}")
        unfinished.mkdir(parents=True)
        return unfinished

    def _shard(self, split: CachedSplit, shard: int) -> Path:
        return self._folder / split.name / f"{shard:05}"

    def _is_complete(self, split: CachedSplit, shard: int) -> bool:
        folder = self._shard(split, shard)
        if not folder.is_dir():
            return False
        try:
            counts = {name: sum(1 for _ in _read_records(folder / name)) for name in self.shapes}
        except tf.errors.OpError as error:
            reason = str(error).splitlines()[0]
        else:
            expected = split.images_in(shard) * split.views
            if set(counts.values()) == {expected}:
                return True
            reason = f"it has {counts} records, expected {expected} each"
        _log.warning("The cached features in %s are damaged (%s): extracting them again.", folder, reason)
        shutil.rmtree(folder, ignore_errors=True)
        return False


def _read_records(path: Path) -> Iterator[tf.Tensor]:
    return iter(tf.data.TFRecordDataset(str(path)))


def _rename(unfinished: Path, target: Path) -> None:
    """Renames a complete folder, or removes it if another process has already created the target."""
    try:
        unfinished.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(unfinished)


def _compact(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    largest = np.finfo(dtype).max
    return np.clip(values, -largest, largest).astype(dtype)
