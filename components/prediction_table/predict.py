"""Beam transforms that predict images, and find those that are also in the training data."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import tensorflow as tf
from apache_beam.utils.shared import Shared

from components.prediction_table import columns, perturbations
from components.prediction_table.models import ScoringModel
from components.prediction_table.table import is_probability
from components.progress import Progress
from components.same_code import SameCodeDoFn
from trainer import features

_BATCH_SIZE = 32
_PERTURBED_PIXELS = 4_000_000  # perturbed at once; each image is held uncompressed several times

Row = dict[str, Any]


class ModelsByColumn(dict[str, ScoringModel]):
    """Models by the column of their probabilities; `Shared` needs a class of its own."""


class PredictDoFn(SameCodeDoFn):
    """Turns a file of examples into rows.

    Args:
        models: The models by column; each other worker process loads them again.
        shared: Holds the models for all threads of a process.
    """

    def __init__(self, models: ModelsByColumn, shared: Shared) -> None:
        super().__init__()
        self._sources = {column: (model.uri, model.output) for column, model in models.items()}
        self._shared = shared
        self._shared_progress = Shared()

    def setup(self) -> None:
        """Loads the models once per process."""
        super().setup()
        self._models: ModelsByColumn = self._shared.acquire(
            lambda: ModelsByColumn(
                {column: ScoringModel(*source) for column, source in self._sources.items()}
            )
        )

    def process(
        self, file: str, sampled: Collection[str], total: int, seen: Collection[str]
    ) -> Iterator[Row]:
        """Predicts every image, and the sampled ones under each perturbation.

        Args:
            file: Path of a TFRecord file.
            sampled: Digests of the images to perturb.
            total: Number of images in all files, for the progress.
            seen: Digests of the images that are in the training data, too.
        """
        progress: Progress = self._shared_progress.acquire(lambda: Progress(total))
        for batch in _records(file).batch(_BATCH_SIZE).prefetch(1).as_numpy_iterator():
            probabilities = {column: model.probabilities(batch) for column, model in self._models.items()}
            images = [_features(record) for record in batch]
            digests = [image[features.DIGEST].decode() for image in images]
            rows = [{name: image[name] for name in columns.IMAGE_COLUMNS} for image in images]
            for index, row in enumerate(rows):
                row |= {column: float(values[index]) for column, values in probabilities.items()}
            selected = [index for index, digest in enumerate(digests) if digest in sampled]
            for group in _groups(selected, [images[index] for index in selected]):
                perturbed = self._predict_perturbed([images[index][features.ENCODED] for index in group])
                for index, columns_of_image in zip(group, perturbed, strict=True):
                    rows[index] |= columns_of_image
            for digest, row in zip(digests, rows, strict=True):
                yield {**row, columns.SEEN_IN_TRAINING: int(digest in seen)}
                progress.step()

    def _predict_perturbed(self, images: Sequence[bytes]) -> list[Row]:
        """Returns the candidate's probabilities under each perturbation, by column, for each image."""
        examples = [
            perturbations.to_example(perturbed)
            for image in images
            for perturbed in perturbations.perturb(image).values()
        ]
        probabilities = self._models[columns.PROBABILITY].probabilities(examples).reshape(len(images), -1)
        names = [columns.perturbed_column(name) for name in columns.PERTURBATIONS]
        return [dict(zip(names, map(float, values), strict=True)) for values in probabilities]


def read_digests(file: str) -> Iterator[str]:
    """Yields the digest of every image in a file."""
    spec = {features.DIGEST: tf.io.FixedLenFeature([], tf.string)}
    parsed = _records(file).batch(_BATCH_SIZE).map(lambda batch: tf.io.parse_example(batch, spec))
    for batch in parsed.as_numpy_iterator():
        for digest in batch[features.DIGEST]:
            yield digest.decode()


def find_digests(file: str, wanted: Sequence[str]) -> Iterator[str]:
    """Yields those of the wanted digests that are in a file."""
    yield from set(wanted).intersection(read_digests(file))


def shard_index(row: Row, shards: int) -> int:
    """Returns 0 for a row with a valid probability of the candidate and 1 for any other."""
    return int(not is_probability(row[columns.PROBABILITY]))


def _groups(indices: Sequence[int], images: Sequence[Row]) -> Iterator[list[int]]:
    """Splits indices into groups of images that fit into memory when perturbed; at least one each."""
    group: list[int] = []
    group_pixels = 0
    for index, image in zip(indices, images, strict=True):
        pixels = image[features.HEIGHT] * image[features.WIDTH]
        if group and group_pixels + pixels > _PERTURBED_PIXELS:
            yield group
            group, group_pixels = [], 0
        group.append(index)
        group_pixels += pixels
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
