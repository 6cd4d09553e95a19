"""What Beam's workers do: ask the models about the pictures of a file, and find who was seen in training."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.utils.shared import Shared

from components.prediction_table import columns, perturbations
from components.prediction_table.models import ScoringModel
from components.prediction_table.table import is_probability
from components.progress import Progress
from trainer import features

_BATCH_SIZE = 32
_CHANGED_AT_ONCE = 4_000_000  # pixels of pictures, which are there uncompressed and several times each

Row = dict[str, Any]


class Models(dict[str, ScoringModel]):
    """Models by the column that their answers go to."""


class Ask(beam.DoFn):
    """Turns a file of examples into rows, each with its digest before it and without what was seen.

    Args:
        models: Those to ask; a worker in another process loads them anew.
        shared: Holds the models for all threads of a process.
    """

    def __init__(self, models: Models, shared: Shared) -> None:
        self._sources = {column: (model.uri, model.output) for column, model in models.items()}
        self._shared = shared
        self._shared_progress = Shared()

    def setup(self) -> None:
        """Gets the models, which are loaded once a process."""
        self._models: Models = self._shared.acquire(
            lambda: Models({column: ScoringModel(*source) for column, source in self._sources.items()})
        )

    def process(self, file: str, sampled: Collection[str], total: int) -> Iterator[tuple[str, Row]]:
        """Asks about every picture, and about the sampled ones after each change too.

        Args:
            file: TFRecords.
            sampled: Digests.
            total: Number of pictures in all files.
        """
        progress: Progress = self._shared_progress.acquire(lambda: Progress(total))
        for batch in _records(file).batch(_BATCH_SIZE).prefetch(1).as_numpy_iterator():
            answers = {column: model.probabilities(batch) for column, model in self._models.items()}
            pictures = [_features(record) for record in batch]
            digests = [picture[features.DIGEST].decode() for picture in pictures]
            rows = [{name: picture[name] for name in columns.ABOUT_PICTURE} for picture in pictures]
            for index, row in enumerate(rows):
                row |= {column: float(values[index]) for column, values in answers.items()}
            chosen = [index for index, digest in enumerate(digests) if digest in sampled]
            for some in _groups(chosen, [pictures[index] for index in chosen]):
                behaviour = self._behaviour([pictures[index][features.ENCODED] for index in some])
                for index, found in zip(some, behaviour, strict=True):
                    rows[index] |= found
            for digest, row in zip(digests, rows, strict=True):
                yield digest, row
                progress.step()

    def _behaviour(self, pictures: Sequence[bytes]) -> list[Row]:
        """Returns for each picture what the candidate says after each change."""
        changed = [
            perturbations.record(one)
            for picture in pictures
            for one in perturbations.changed(picture).values()
        ]
        answers = self._models[columns.PROBABILITY].probabilities(changed).reshape(len(pictures), -1)
        names = [columns.changed(name) for name in columns.CHANGES]
        return [dict(zip(names, map(float, values), strict=True)) for values in answers]


def read_digests(split: str, file: str) -> Iterator[tuple[str, str]]:
    """Yields the digest of every picture in a file, each with the split."""
    spec = {features.DIGEST: tf.io.FixedLenFeature([], tf.string)}
    parsed = _records(file).batch(_BATCH_SIZE).map(lambda batch: tf.io.parse_example(batch, spec))
    for batch in parsed.as_numpy_iterator():
        for digest in batch[features.DIGEST]:
            yield digest.decode(), split


def with_seen(digest: str, found: dict[str, Iterable[Any]]) -> Iterator[Row]:
    """Yields the rows of a picture (several, where `test` has it twice), complete.

    Args:
        digest: The picture's.
        found: `rows`, and under `seen` the splits of training that have it.
    """
    seen = int(any(True for _ in found["seen"]))
    for row in found["rows"]:
        yield {**row, columns.SEEN: seen}


def shard_of(row: Row, shards: int) -> int:
    """Returns which of two files a row goes to: the second where the candidate has no probability."""
    return int(not is_probability(row[columns.PROBABILITY]))


def _groups(chosen: Sequence[int], pictures: Sequence[Row]) -> Iterator[list[int]]:
    """Yields what is chosen in groups that are small enough to be changed at once: one at least."""
    group: list[int] = []
    held = 0
    for index, picture in zip(chosen, pictures, strict=True):
        pixels = picture[features.HEIGHT] * picture[features.WIDTH]
        if group and held + pixels > _CHANGED_AT_ONCE:
            yield group
            group, held = [], 0
        group.append(index)
        held += pixels
    if group:
        yield group


def _records(file: str) -> tf.data.TFRecordDataset:
    return tf.data.TFRecordDataset(file, compression_type="GZIP" if file.endswith(".gz") else "")


def _features(record: bytes) -> Row:
    example = tf.train.Example.FromString(record)
    return {
        name: getattr(feature, feature.WhichOneof("kind")).value[0]
        for name, feature in example.features.feature.items()
    }
