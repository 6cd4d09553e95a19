"""Reads, inspects and writes all images, and fails if too many of them are rejected."""

from __future__ import annotations

import csv
import io
import json
import logging
import pickle
import posixpath
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import apache_beam as beam
import tensorflow as tf
from apache_beam.utils.shared import Shared
from tfx.components.util import examples_utils
from tfx.dsl.components.base import base_beam_executor
from tfx.dsl.io import fileio
from tfx.proto import example_gen_pb2
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.errors import DataRejected, PipelineError
from components.image_example_gen import splits
from components.image_example_gen.examples import serialize
from components.image_example_gen.inspection import inspect
from components.image_example_gen.shards import ShardWriter, os_error, unfinished_folder
from components.image_example_gen.sources import open_source, source_name
from components.image_example_gen.sources.base import SPLITS, ImageRejected, Source, SourceImage, format_names
from components.progress import Progress
from components.same_code import SameCodeDoFn
from serving.printable import printable

_MAX_LOGGED_FILES = 100

_log = logging.getLogger(__name__)


@dataclass
class IngestCounts:
    """Counts of accepted and rejected images, of one portion or of all.

    Attributes:
        accepted: Number of accepted images by split and class name.
        rejected: File name, reason and detail of each rejected image.
        leaks: The file names of identical images, one of which is in the source's test split and one is not.
        outside_links: Paths of the links that lead out of the source.
    """

    accepted: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: list[tuple[str, str, str]] = field(default_factory=list)
    leaks: list[list[str]] = field(default_factory=list)
    outside_links: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of images, accepted or rejected."""
        return len(self.rejected) + sum(sum(by_class.values()) for by_class in self.accepted.values())

    @property
    def rejected_fraction(self) -> float:
        """Share of rejected images, 0 to 1."""
        return len(self.rejected) / self.total if self.total else 0.0

    def count_accepted(self, split: str, class_name: str, image_count: int = 1) -> None:
        """Adds accepted images."""
        by_class = self.accepted.setdefault(split, {})
        by_class[class_name] = by_class.get(class_name, 0) + image_count

    def add(self, other: IngestCounts) -> None:
        """Adds the counts of another instance."""
        for split, by_class in other.accepted.items():
            for class_name, image_count in by_class.items():
                self.count_accepted(split, class_name, image_count)
        self.rejected += other.rejected
        self.leaks += other.leaks


@dataclass(frozen=True)
class _IngestConfig:
    """The component's parameters, parsed, and its output folder.

    Attributes:
        data_fingerprint: Fingerprint of the images that the driver computed; empty if there was no driver.
        uri: Folder of the examples.
    """

    source: Mapping[str, Any]
    class_names: Sequence[str]
    split: Mapping[str, Any]
    max_pixels: int
    data_fingerprint: str
    uri: str


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the examples and the list of rejected images."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Ingests the images; see the component for the parameters.

        Raises:
            DataRejected: Too many images were rejected, or a split is empty.
            PipelineError: The images changed during the run.
            OSError: The examples cannot be written.
        """
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        rejected = artifact_utils.get_single_instance(output_dict["rejected"])

        config = _IngestConfig(
            source=json.loads(exec_properties["source"]),
            class_names=json.loads(exec_properties["class_names"]),
            split=json.loads(exec_properties["split"]),
            max_pixels=exec_properties["max_pixels"],
            data_fingerprint=exec_properties.get("data_fingerprint", ""),
            uri=examples.uri,
        )
        counts = self._write(config, posixpath.join(rejected.uri, "counts_by_shard"))
        max_rejected_fraction = exec_properties["max_rejected_fraction"]
        exceeds_limit = counts.rejected_fraction > max_rejected_fraction
        # TFX removes `rejected.csv` if the component fails, so that the log must list all files.
        _log_counts(counts, max_files=None if exceeds_limit else _MAX_LOGGED_FILES)
        _check_counts(counts, max_rejected_fraction)
        _write_counts(counts, rejected.uri)

        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        # TFX has no other name for TFRecords; its readers decompress only files with the suffix ".gz".
        examples_utils.set_file_format(examples, "tfrecords_gzip")

    def _write(self, config: _IngestConfig, counts_uri: str) -> IngestCounts:
        source = open_source(config.source, config.class_names)
        _check_unchanged(config, source)
        # As bytes: Beam would infer the type of every file, and keeps many copies of these elements.
        portions = [zlib.compress(pickle.dumps(portion)) for portion in source.portions()]
        write = _WriteShard(config, shards=len(portions), total=source.count())
        # Images do not pass through Beam: one worker reads and writes a whole portion and returns its counts.
        try:
            with self._make_beam_pipeline() as pipeline:
                written = (
                    pipeline
                    | "Portions" >> beam.Create(list(enumerate(portions)))
                    | "Spread" >> beam.Reshuffle()
                    | "Write" >> beam.ParDo(write).with_outputs("source_splits", main="counts")
                )
                leaks = (
                    written.source_splits
                    | "ByContents" >> beam.GroupByKey()
                    | "Leaks" >> beam.FlatMap(lambda pair: _find_leak(pair[1]))
                )
                _ = (
                    (written.counts, leaks)
                    | "Collect" >> beam.Flatten()
                    | "AsText" >> beam.Map(lambda counts: json.dumps(asdict(counts)))
                    | "Save" >> beam.io.WriteToText(counts_uri, num_shards=1, shard_name_template="")
                )
        except (OSError, RuntimeError) as error:
            raise _as_os_error(error, counts_uri) from error
        _check_unchanged(config, open_source(config.source, config.class_names))
        if fileio.exists(unfinished_folder(config.uri)):
            fileio.rmtree(unfinished_folder(config.uri))
        counts = IngestCounts(outside_links=source.outside_links())
        with fileio.open(counts_uri) as lines:
            for line in lines:
                counts.add(IngestCounts(**json.loads(line)))
        fileio.remove(counts_uri)
        return counts


class _WriteShard(SameCodeDoFn):
    """Writes a numbered portion as one shard of every split; yields its counts."""

    def __init__(self, config: _IngestConfig, shards: int, total: int) -> None:
        super().__init__()
        self._config = config
        self._shards = shards
        self._total = total
        self._shared = Shared()  # one counter for all threads of a process

    def setup(self) -> None:
        """Opens the source, once per worker."""
        super().setup()
        self._source = open_source(self._config.source, self._config.class_names)
        self._progress: Progress = self._shared.acquire(lambda: Progress(self._total))

    def process(self, element: tuple[int, bytes]) -> Iterator[Any]:
        """Reads and writes one portion."""
        shard, compressed = element
        counts = IngestCounts()
        with ShardWriter(self._config.uri, shard, self._shards) as writer:
            for image in self._source.read(pickle.loads(zlib.decompress(compressed))):
                try:
                    image_digest, split, record = self._to_record(image)
                except ImageRejected as rejection:
                    counts.rejected.append((image.filename, rejection.reason, rejection.detail))
                else:
                    writer.write(split, record)
                    counts.count_accepted(split, self._config.class_names[image.label])
                    if len(image.splits) < len(SPLITS):
                        yield beam.pvalue.TaggedOutput(
                            "source_splits", (image_digest, (split == "test", image.filename))
                        )
                self._progress.step()
        yield counts

    def _to_record(self, image: SourceImage) -> tuple[bytes, str, bytes]:
        try:
            data = image.read()
        except OSError as error:
            raise ImageRejected("cannot be read", error.strerror or str(error)) from None
        properties = inspect(data, self._config.max_pixels)
        split = splits.assign_split(
            properties.digest, self._config.split, self._config.split["seed"], image.splits
        )
        return properties.digest, split, serialize(image, data, properties, self._config.class_names)


def _check_unchanged(config: _IngestConfig, source: Source) -> None:
    """Raises PipelineError if the images changed: the cache key would belong to other images."""
    if config.data_fingerprint and source.fingerprint() != config.data_fingerprint:
        raise PipelineError(
            f"The images ({source_name(config.source)}) changed while they were read: run again once "
            "they no longer change."
        )


def _find_leak(copies: Iterable[tuple[bool, str]]) -> Iterator[IngestCounts]:
    copies = sorted(copies)
    if {in_test for in_test, _ in copies} == {False, True}:
        yield IngestCounts(leaks=[[filename for _, filename in copies]])


def _as_os_error(error: Exception, uri: str) -> Exception:
    """Returns the OSError that Beam quotes in a traceback, with its file name; any other error as it is."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename or uri)
    match = re.search(r"^\w*Error: \[Errno (\d+)\] ([^:[\n]+)(?:: '(.+?)')?", str(error), re.MULTILINE)
    if match is None:
        return error
    number, message, filename = match.groups()
    return OSError(int(number), message.strip(), filename or uri)


def _log_counts(counts: IngestCounts, max_files: int | None) -> None:
    """Logs up to `max_files` rejected images (None: all), images leaked between splits, and outside links."""
    logged = sorted(counts.rejected)[:max_files]
    for filename, reason, detail in logged:
        _log.warning("Rejected: %s: %s%s", printable(filename), reason, f" ({detail})" if detail else "")
    if len(counts.rejected) > len(logged):
        _log.warning("%s more images were rejected.", f"{len(counts.rejected) - len(logged):,}")
    if counts.leaks:
        _log.warning(
            "The source has %s images both in its test split and in another one, so the test metrics are too "
            "optimistic; for example %s.",
            f"{len(counts.leaks):,}",
            " = ".join(min(counts.leaks)),
        )
    if counts.outside_links:
        _log.warning(
            "Links that lead out of the image folder (%s): %s.",
            f"{len(counts.outside_links):,}",
            format_names(counts.outside_links),
        )


def _check_counts(counts: IngestCounts, max_rejected_fraction: float) -> None:
    rejected, total = len(counts.rejected), counts.total
    if counts.rejected_fraction > max_rejected_fraction:
        reason, count = Counter(reason for _, reason, _ in counts.rejected).most_common(1)[0]
        filename, _, detail = min(row for row in counts.rejected if row[1] == reason)
        example = f"{printable(filename)}{f' ({detail})' if detail else ''}"
        raise DataRejected(
            f"{rejected:,} of {total:,} images cannot be used ({counts.rejected_fraction:.2%}), but "
            f"data.max_rejected_fraction is {max_rejected_fraction:.2%}. The commonest reason is "
            f"{reason!r} ({count:,} images), for example {example}. "
            "Repair or remove the images that the log lists, or raise data.max_rejected_fraction "
            "(catsdogs submit: --param max_rejected_fraction=SHARE)."
        )
    for split in SPLITS:
        if not sum(counts.accepted.get(split, {}).values()):
            raise DataRejected(
                f"The split {split!r} is empty: {total - rejected:,} of {total:,} images can be used, but "
                "none of them is in this split. Add images, or change the shares in data.split."
            )


def _write_counts(counts: IngestCounts, uri: str) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "reason", "detail"))
    writer.writerows((printable(name), *rest) for name, *rest in sorted(counts.rejected))
    summary = {
        "accepted": counts.accepted,
        "rejected": dict(Counter(reason for _, reason, _ in counts.rejected)),
        "in_test_and_elsewhere": len(counts.leaks),
        "outside_links": len(counts.outside_links),
    }
    for name, text in {
        "rejected.csv": table.getvalue(),
        "counts.json": json.dumps(summary, indent=2),
    }.items():
        path = posixpath.join(uri, name)
        with os_error(path), tf.io.gfile.GFile(path, "w") as file:
            file.write(text)
