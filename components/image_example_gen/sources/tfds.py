"""Pictures of a TensorFlow Datasets builder, as stored: their bytes are never decoded on the way."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

from components.errors import InputError, PipelineError
from components.image_example_gen.sources.base import (
    PARTS,
    ImageRejected,
    Picture,
    class_index,
    listed,
    own_splits,
    shard_count,
)
from components.progress import SECONDS, progress_log

_log = logging.getLogger(__name__)
_preparing = threading.Lock()


@dataclass(frozen=True)
class _Slice:
    split: str  # as the builder names it
    start: int
    stop: int
    splits: tuple[str, ...]


def check_prepared(builder: str, data_dir: str | None, download: bool) -> None:
    """Raises InputError where it is plain, without importing TFDS, that the data set is not there.

    Args:
        builder: As for `TfdsSource`.
        data_dir: As for `TfdsSource`.
        download: As for `TfdsSource`.
    """
    name = builder.partition("/")[0].partition(":")[0]
    if not download and data_dir is not None and not (Path(data_dir) / name).is_dir():
        raise _not_prepared(builder, data_dir)


class TfdsSource:
    """A builder with one image and one label of two classes.

    Args:
        builder: Its name, with configuration and version where wanted (`cats_vs_dogs:4.0.1`).
        data_dir: Where data sets are prepared; None means TFDS's own default.
        download: Whether to download and prepare what is not there.
        class_names: The two classes; the builder's labels match in singular or plural, any case and order.

    Raises:
        InputError: There is no such builder, it does not fit, or it is neither prepared nor to be downloaded.
        PipelineError: It could not be downloaded.
    """

    def __init__(
        self, builder: str, data_dir: str | None, download: bool, class_names: Sequence[str]
    ) -> None:
        self._builder = _prepared(builder, data_dir, download)
        self._class_names = tuple(class_names)
        self._image, self._label, self._labels = self._find_features()
        self._parts = self._find_parts()

    def count(self) -> int:
        """See `Source`."""
        return sum(self._builder.info.splits[split].num_examples for split in self._parts)

    def portions(self) -> list[_Slice]:
        """See `Source`; TFDS has mixed the pictures when it wrote them."""
        others = sorted(set(self._builder.info.splits) - set(self._parts))
        if others:
            _log.warning("Not read: the splits %s of %s.", listed(others), self._builder.info.full_name)
        slices = []
        for split, splits in self._parts.items():
            info = self._builder.info.splits[split]
            shards = min(shard_count(info.num_bytes), info.num_examples)
            bounds = [info.num_examples * shard // shards for shard in range(shards + 1)]
            slices += [_Slice(split, start, stop, splits) for start, stop in pairwise(bounds)]
        return slices

    def read(self, portion: _Slice) -> Iterator[Picture]:
        """See `Source`."""
        import tensorflow_datasets as tfds

        wanted = {name: True for name in (self._image, self._label, self._filename) if name}
        records = self._builder.as_dataset(
            split=f"{portion.split}[{portion.start}:{portion.stop}]",
            decoders=tfds.decode.PartialDecoding(wanted, decoders={self._image: tfds.decode.SkipDecoding()}),
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )
        for index, record in enumerate(records.as_numpy_iterator(), portion.start):
            data, label = record[self._image], int(record[self._label])
            labelled = label >= 0  # TFDS writes -1 for "no label"
            yield Picture(
                filename=(
                    record[self._filename].decode() if self._filename else f"{portion.split}/{index:07d}"
                ),
                folder=f"{self._builder.info.full_name}/{portion.split}",
                label=self._labels[label] if labelled else label,
                splits=portion.splits,
                read=partial(bytes, data) if labelled else _refuse_unlabelled,
            )

    def fingerprint(self) -> str:
        """See `Source`; the prepared files' names, sizes and times of change stand for their contents."""
        import tensorflow as tf

        folder = str(self._builder.data_dir)
        digest = hashlib.sha256(self._builder.info.full_name.encode())
        for name in sorted(tf.io.gfile.listdir(folder)):
            status = tf.io.gfile.stat(f"{folder}/{name}")
            digest.update(f"{name}\0{status.length}\0{status.mtime_nsec}\n".encode())
        return digest.hexdigest()

    @cached_property
    def _filename(self) -> str | None:
        names = [f"{self._image}/filename", "filename", "file_name"]
        return next((name for name in names if name in self._builder.info.features), None)

    def _find_features(self) -> tuple[str, str, list[int]]:
        import tensorflow_datasets as tfds

        info = self._builder.info
        kinds = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
        found = {
            kind: [name for name, feature in info.features.items() if isinstance(feature, feature_class)]
            for kind, feature_class in kinds.items()
        }
        for kind, names in found.items():
            if len(names) != 1:
                raise InputError(
                    f"The TFDS builder {info.full_name!r} has {len(names)} features of the kind {kind}, and "
                    "one is expected: choose a builder of labelled pictures with data.tfds.builder."
                )
        names = info.features[found["label"][0]].names
        labels = [class_index(name, self._class_names) for name in names]
        if sorted(label for label in labels if label is not None) != [0, 1] or len(labels) != 2:
            raise InputError(
                f"The TFDS builder {info.full_name!r} has {len(names)} classes, {listed(names)}, and exactly "
                f"the two of data.class_names, {listed(self._class_names)}, are supported: choose another "
                "builder, or set data.class_names."
            )
        return found["image"][0], found["label"][0], [label for label in labels if label is not None]

    def _find_parts(self) -> dict[str, tuple[str, ...]]:
        info = self._builder.info
        parts = {split: PARTS[split] for split in info.splits if split in PARTS}
        if "train" not in parts.values():
            raise InputError(
                f"The TFDS builder {info.full_name!r} has the splits {listed(list(info.splits))} but no "
                "'train': choose another one with data.tfds.builder."
            )
        splits = own_splits("validation" in parts.values(), "test" in parts.values())
        return {split: splits[part] for split, part in parts.items()}


def _refuse_unlabelled() -> bytes:
    raise ImageRejected("no label")


def _prepared(name: str, data_dir: str | None, download: bool) -> Any:
    import requests
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core.download import downloader

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, AssertionError, ValueError) as error:
        first_line = str(error).strip().partition("\n")[0]
        raise InputError(
            f"There is no TFDS builder {name!r} ({first_line}): set data.tfds.builder to a name of the TFDS "
            "catalogue, or read pictures from a folder with --images DIR."
        ) from None
    with _preparing:
        if builder.is_prepared():
            return builder
        if not download:
            raise _not_prepared(name, str(builder.data_dir_root))
        tfds.disable_progress_bar()
        downloader.MAX_RETRIES = 5  # its ten take three and a half minutes to find that there is no network
        try:
            with _reporting(f"downloading and preparing {builder.info.full_name}"):
                builder.download_and_prepare()
        except (requests.RequestException, tfds.download.DownloadError) as error:
            raise PipelineError(
                f"The data set {name!r} could not be downloaded ({_reason(error)}): check the network, set "
                "data.tfds.data_dir to a folder where it is prepared, or read pictures from a folder with "
                "--images DIR."
            ) from error
    return builder


def _not_prepared(name: str, data_dir: str) -> InputError:
    return InputError(
        f"The data set {name!r} is not prepared in {data_dir} and data.tfds.download is off: turn that on, "
        "set data.tfds.data_dir to where it is prepared, or read pictures from a folder with --images DIR."
    )


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _reporting(activity: str) -> Iterator[None]:
    done = threading.Event()

    def report() -> None:
        seconds = 0.0
        while not done.wait(SECONDS):
            seconds += SECONDS
            progress_log.info("%s, %.0f s", activity, seconds)

    reporter = threading.Thread(target=report, daemon=True)
    progress_log.info(activity)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
