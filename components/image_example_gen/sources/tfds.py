"""Images of a TensorFlow Datasets builder, read as encoded bytes without decoding."""

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
    SOURCE_SPLIT_NAMES,
    ImageRejected,
    SourceImage,
    class_index,
    format_names,
    map_source_splits,
    shard_count,
)
from components.progress import REPORT_INTERVAL, progress_log

_log = logging.getLogger(__name__)
_preparing = threading.Lock()


@dataclass(frozen=True)
class _SplitSlice:
    source_split: str
    start: int
    stop: int
    splits: tuple[str, ...]


def check_prepared(builder: str, data_dir: str | None, download: bool) -> None:
    """Raises InputError if the data set is certainly not prepared; does not import TFDS.

    Args:
        builder: See `TfdsSource`.
        data_dir: See `TfdsSource`.
        download: See `TfdsSource`.
    """
    name = builder.partition("/")[0].partition(":")[0]
    if not download and data_dir is not None and not (Path(data_dir) / name).is_dir():
        raise _not_prepared(builder, data_dir)


class TfdsSource:
    """A builder with one image feature and one label of two classes.

    Args:
        builder: Name, optionally with config and version (`cats_vs_dogs:4.0.1`).
        data_dir: Folder of the prepared data sets; None means TFDS's default.
        download: Whether to download and prepare a data set that is not in `data_dir`.
        class_names: The two classes; the builder's labels match in singular or plural, any case and order.

    Raises:
        InputError: The builder does not exist or does not fit, or it is not prepared and `download` is False.
        PipelineError: The data set cannot be downloaded.
    """

    def __init__(
        self, builder: str, data_dir: str | None, download: bool, class_names: Sequence[str]
    ) -> None:
        self._builder = _prepared(builder, data_dir, download)
        self._class_names = tuple(class_names)
        self._image, self._label, self._labels = self._find_features()
        self._split_map = self._map_splits()

    def count(self) -> int:
        """See `Source`."""
        return sum(self._builder.info.splits[split].num_examples for split in self._split_map)

    def portions(self) -> list[_SplitSlice]:
        """See `Source`; TFDS shuffled the images when it prepared them."""
        unused = sorted(set(self._builder.info.splits) - set(self._split_map))
        if unused:
            _log.warning(
                "The splits %s of %s are not used.", format_names(unused), self._builder.info.full_name
            )
        slices = []
        for source_split, splits in self._split_map.items():
            info = self._builder.info.splits[source_split]
            shards = min(shard_count(info.num_bytes), info.num_examples)
            bounds = [info.num_examples * shard // shards for shard in range(shards + 1)]
            slices += [_SplitSlice(source_split, start, stop, splits) for start, stop in pairwise(bounds)]
        return slices

    def read(self, portion: _SplitSlice) -> Iterator[SourceImage]:
        """See `Source`."""
        import tensorflow_datasets as tfds

        split = portion.source_split
        feature_names = {name: True for name in (self._image, self._label, self._filename) if name}
        records = self._builder.as_dataset(
            split=f"{split}[{portion.start}:{portion.stop}]",
            decoders=tfds.decode.PartialDecoding(
                feature_names, decoders={self._image: tfds.decode.SkipDecoding()}
            ),
            read_config=tfds.ReadConfig(try_autocache=False, interleave_cycle_length=1),
        )
        for index, record in enumerate(records.as_numpy_iterator(), portion.start):
            data, label = record[self._image], int(record[self._label])
            has_label = label >= 0  # TFDS stores -1 for a missing label
            yield SourceImage(
                filename=record[self._filename].decode() if self._filename else f"{split}/{index:07d}",
                folder=f"{self._builder.info.full_name}/{split}",
                label=self._labels[label] if has_label else label,
                splits=portion.splits,
                read=partial(bytes, data) if has_label else _reject_unlabelled,
            )

    def outside_links(self) -> list[str]:
        """See `Source`."""
        return []

    def fingerprint(self) -> str:
        """See `Source`; computed from the names, sizes and modification times of the prepared files."""
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
        feature_classes = {"image": tfds.features.Image, "label": tfds.features.ClassLabel}
        matches = {
            kind: [name for name, feature in info.features.items() if isinstance(feature, feature_class)]
            for kind, feature_class in feature_classes.items()
        }
        for kind, names in matches.items():
            if len(names) != 1:
                raise InputError(
                    f"The TFDS builder {info.full_name!r} has {len(names)} {kind} features instead of "
                    "one: set data.tfds.builder to a builder of labelled images."
                )
        names = info.features[matches["label"][0]].names
        labels = [class_index(name, self._class_names) for name in names]
        if sorted(label for label in labels if label is not None) != [0, 1] or len(labels) != 2:
            raise InputError(
                f"The TFDS builder {info.full_name!r} has {len(names)} classes ({format_names(names)}), but "
                f"data.class_names is {list(self._class_names)}: choose another builder of two classes, or "
                "set data.class_names."
            )
        return matches["image"][0], matches["label"][0], [label for label in labels if label is not None]

    def _map_splits(self) -> dict[str, tuple[str, ...]]:
        info = self._builder.info
        source_splits = {
            split: SOURCE_SPLIT_NAMES[split] for split in info.splits if split in SOURCE_SPLIT_NAMES
        }
        if "train" not in source_splits.values():
            raise InputError(
                f"The TFDS builder {info.full_name!r} has the splits {format_names(list(info.splits))} but "
                "no 'train': set data.tfds.builder to another builder."
            )
        splits = map_source_splits("validation" in source_splits.values(), "test" in source_splits.values())
        return {split: splits[name] for split, name in source_splits.items()}


def _reject_unlabelled() -> bytes:
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
            f"data.tfds.builder {name!r} cannot be found ({first_line}): set it to a name in the TFDS "
            "catalogue, or read images from a folder with --images DIR."
        ) from None
    with _preparing:
        if builder.is_prepared():
            return builder
        if not download:
            raise _not_prepared(name, str(builder.data_dir_root))
        tfds.disable_progress_bar()
        downloader.MAX_RETRIES = 5  # its default of 10 takes 3.5 minutes to fail without a network
        try:
            with _report_progress(f"downloading and preparing {builder.info.full_name}"):
                builder.download_and_prepare()
        except (requests.RequestException, tfds.download.DownloadError) as error:
            raise PipelineError(
                f"The data set {name!r} cannot be downloaded ({_error_text(error)}): check the network, set "
                "data.tfds.data_dir to the folder of the prepared data set, or read images from a folder "
                "with --images DIR."
            ) from error
    return builder


def _not_prepared(name: str, data_dir: str) -> InputError:
    return InputError(
        f"The data set {name!r} is not prepared in {data_dir}, and data.tfds.download is false: set it to "
        "true, set data.tfds.data_dir to the folder of the prepared data set, or read images from a folder "
        "with --images DIR."
    )


def _error_text(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


@contextmanager
def _report_progress(activity: str) -> Iterator[None]:
    done = threading.Event()

    def report() -> None:
        seconds = 0.0
        while not done.wait(REPORT_INTERVAL):
            seconds += REPORT_INTERVAL
            progress_log.info("%s, %.0f s", activity, seconds)

    reporter = threading.Thread(target=report, daemon=True)
    progress_log.info(activity)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
