"""What the frozen part of the network makes of each picture, kept in shards on disk.

A shard holds some consecutive pictures of a split with all their views. It is a folder with one TFRecord file
for each kind of features, whose checksums tell damage, and gets its name when it is whole: a pass that was
cut short goes on at the first shard that is missing.
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

from trainer import leftovers

SHARD_PICTURES = 256
_MADE_FROM = "made_from.json"
_FILES_AT_ONCE = 4
_LABEL_BYTES = 4  # float32, in front of the values
_MEGABYTE = 1 << 20

_log = logging.getLogger(__name__)


class Split(NamedTuple):
    """Pictures of one split.

    Attributes:
        name: `train` or `eval`.
        pictures: How many.
        views: How many records each picture has.
    """

    name: str
    pictures: int
    views: int

    @property
    def shards(self) -> int:
        """How many shards hold them."""
        return math.ceil(self.pictures / SHARD_PICTURES)

    @property
    def records(self) -> int:
        """How many records all shards hold together."""
        return self.pictures * self.views

    def pictures_in(self, shard: int) -> int:
        """How many pictures a shard holds."""
        return min(SHARD_PICTURES, self.pictures - shard * SHARD_PICTURES)


class FeatureCache:
    """The features of all pictures, as one training wants them.

    Args:
        root: Folder of all caches, made when needed. Those that were made from something else and that nobody
            has used for a day are removed from it.
        made_from: All that the features depend on, as JSON takes it; names the cache.
        shapes: Shape of one picture's features, by kind.
        dtype: `float16`, which clips at ±65,504, or `float32`.
    """

    def __init__(
        self, root: Path, made_from: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]], dtype: str
    ) -> None:
        self.shapes = dict(shapes)
        self._dtype = np.dtype(dtype)
        self._made_from = json.dumps(made_from, sort_keys=True, indent=2)
        self._folder = root / hashlib.sha256(self._made_from.encode()).hexdigest()[:16]
        others = (folder for folder in root.glob("*") if folder != self._folder)
        leftovers.discard_unused(others, "kept features, made from other inputs and")
        self._open()

    def missing(self, split: Split) -> list[int]:
        """Returns the shards that are to be made, damaged ones among them, which are removed."""
        return [shard for shard in range(split.shards) if not self._is_whole(split, shard)]

    @contextlib.contextmanager
    def writing(
        self, split: Split, shard: int
    ) -> Iterator[Callable[[Mapping[str, np.ndarray], np.ndarray], None]]:
        """Keeps a shard, whole or not at all.

        Args:
            split: What it is a part of.
            shard: Its number, from 0.

        Yields:
            What adds records: features by kind, [N, *shape], and their labels, [N].
        """
        beside = self._beside()
        try:
            with contextlib.ExitStack() as open_files:
                writers = {
                    kind: open_files.enter_context(tf.io.TFRecordWriter(str(beside / kind)))
                    for kind in self.shapes
                }

                def add(values: Mapping[str, np.ndarray], labels: np.ndarray) -> None:
                    for kind, writer in writers.items():
                        compact = _compact(values[kind], self._dtype)
                        for label, one in zip(labels.astype(np.float32), compact, strict=True):
                            writer.write(label.tobytes() + one.tobytes())

                yield add
        except BaseException:  # the disk may be full of what was begun
            shutil.rmtree(beside, ignore_errors=True)
            raise
        target = self._shard(split, shard)
        target.parent.mkdir(exist_ok=True)
        _put(beside, target)
        self.touch()

    def touch(self) -> None:
        """Tells other trainings that the features are in use."""
        os.utime(self._folder)

    def batches(
        self, kind: str, split: Split, batch_size: int, memory_mb: int, shuffle_seed: int | None = None
    ) -> tf.data.Dataset:
        """Reads the features of one kind.

        They are held in memory while they are used if they fit, and else read from disk again in each epoch.

        Args:
            kind: One of the kinds that `shapes` names.
            split: What to read; all its shards must be there.
            batch_size: Records a batch.
            memory_mb: Megabytes of memory for this kind of this split; over it, what shuffling may hold.
            shuffle_seed: Shuffles, anew in each epoch; None keeps the order.

        Returns:
            Batches of features float32 [N, *shape] and labels float32 [N].
        """
        shape = self.shapes[kind]
        record_bytes = _LABEL_BYTES + math.prod(shape) * self._dtype.itemsize
        files = [str(self._shard(split, shard) / kind) for shard in range(split.shards)]
        held = memory_mb * _MEGABYTE // record_bytes
        if split.records <= held:
            records = tf.data.TFRecordDataset(files).cache()
        else:
            _log.info(
                "The %s of %s are read from disk in every epoch: over %d MB.", kind, split.name, memory_mb
            )
            names = tf.data.Dataset.from_tensor_slices(files)
            if shuffle_seed is not None:
                names = names.shuffle(len(files), seed=shuffle_seed)
            records = names.interleave(
                tf.data.TFRecordDataset,
                cycle_length=1 if shuffle_seed is None else _FILES_AT_ONCE,
                num_parallel_calls=tf.data.AUTOTUNE,
            )
        records = records.apply(tf.data.experimental.assert_cardinality(split.records))
        if shuffle_seed is not None:
            records = records.shuffle(max(1, min(split.records, held)), seed=shuffle_seed)

        def parse(batch: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            labels = tf.io.decode_raw(tf.strings.substr(batch, 0, _LABEL_BYTES), tf.float32)
            values = tf.io.decode_raw(tf.strings.substr(batch, _LABEL_BYTES, record_bytes), self._dtype)
            return tf.reshape(tf.cast(values, tf.float32), [-1, *shape]), labels[:, 0]

        parsed = records.batch(batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE)
        return parsed.prefetch(tf.data.AUTOTUNE)

    def _open(self) -> None:
        note = self._folder / _MADE_FROM
        if self._folder.is_dir() and (not note.is_file() or note.read_bytes() != self._made_from.encode()):
            _log.warning("The kept features in %s do not say what they are of: discarded.", self._folder)
            shutil.rmtree(self._folder, ignore_errors=True)
        if not self._folder.is_dir():
            beside = self._beside()
            (beside / _MADE_FROM).write_text(self._made_from, "utf-8")
            _put(beside, self._folder)
        self.touch()

    def _beside(self) -> Path:
        """Makes a folder for what is not whole yet."""
        beside = self._folder.with_name(f"unfinished-{uuid.uuid4().hex}")
        beside.mkdir(parents=True)
        return beside

    def _shard(self, split: Split, shard: int) -> Path:
        return self._folder / split.name / f"{shard:05}"

    def _is_whole(self, split: Split, shard: int) -> bool:
        folder = self._shard(split, shard)
        if not folder.is_dir():
            return False
        try:
            counts = {kind: sum(1 for _ in _records(folder / kind)) for kind in self.shapes}
        except tf.errors.OpError as error:
            reason = str(error).splitlines()[0]
        else:
            due = split.pictures_in(shard) * split.views
            if set(counts.values()) == {due}:
                return True
            reason = f"{counts} records, and {due} are due"
        _log.warning("The kept features in %s are damaged (%s): made anew.", folder, reason)
        shutil.rmtree(folder, ignore_errors=True)
        return False


def _records(path: Path) -> Iterator[tf.Tensor]:
    return iter(tf.data.TFRecordDataset(str(path)))


def _put(beside: Path, target: Path) -> None:
    """Gives a folder its name, unless another process that does the same was quicker."""
    try:
        beside.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(beside)


def _compact(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    largest = np.finfo(dtype).max
    return np.clip(values, -largest, largest).astype(dtype)
