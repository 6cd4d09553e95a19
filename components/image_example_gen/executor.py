"""The pass over all pictures: read, inspect, assign to a split, write; then judge what was set aside."""

from __future__ import annotations

import csv
import io
import json
import logging
import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
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
from components.image_example_gen.shards import ShardWriter, os_error, unfinished
from components.image_example_gen.sources import open_source, source_name
from components.image_example_gen.sources.base import SPLITS, ImageRejected, Picture, Source
from components.progress import Progress

_LOGGED_FILES = 100

_log = logging.getLogger(__name__)


@dataclass
class Report:
    """What came of a portion, or of all of them.

    Attributes:
        accepted: Number of pictures by split and class.
        rejected: File name, reason and detail of what was set aside.
        leaks: Names of identical pictures that the source itself has in different splits.
    """

    accepted: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: list[tuple[str, str, str]] = field(default_factory=list)
    leaks: list[list[str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of pictures, usable or not."""
        return len(self.rejected) + sum(sum(by_class.values()) for by_class in self.accepted.values())

    @property
    def bad_fraction(self) -> float:
        """Share of pictures set aside, 0 to 1."""
        return len(self.rejected) / self.total if self.total else 0.0

    def count(self, split: str, class_name: str, pictures: int = 1) -> None:
        """Adds accepted pictures."""
        by_class = self.accepted.setdefault(split, {})
        by_class[class_name] = by_class.get(class_name, 0) + pictures

    def add(self, other: Report) -> None:
        """Adds another report to this one."""
        for split, by_class in other.accepted.items():
            for class_name, pictures in by_class.items():
                self.count(split, class_name, pictures)
        self.rejected += other.rejected
        self.leaks += other.leaks


@dataclass(frozen=True)
class _Job:
    """What is to be written, in the terms of the component.

    Attributes:
        data_fingerprint: That of the pictures when they were looked at; empty where nobody looked.
        uri: Folder of the examples.
    """

    source: Mapping[str, Any]
    class_names: Sequence[str]
    split: Mapping[str, Any]
    max_pixels: int
    data_fingerprint: str
    uri: str


class Executor(base_beam_executor.BaseBeamExecutor):
    """Writes the examples and the list of what was set aside."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[Artifact]],
        output_dict: dict[str, list[Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See the component for the parameters.

        Raises:
            DataRejected: Too many pictures had to be set aside, or a split would be empty.
            PipelineError: The pictures are not those that were looked at.
            OSError: The examples cannot be written.
        """
        examples = artifact_utils.get_single_instance(output_dict["examples"])
        rejected = artifact_utils.get_single_instance(output_dict["rejected"])

        job = _Job(
            source=json.loads(exec_properties["source"]),
            class_names=json.loads(exec_properties["class_names"]),
            split=json.loads(exec_properties["split"]),
            max_pixels=exec_properties["max_pixels"],
            data_fingerprint=exec_properties.get("data_fingerprint", ""),
            uri=examples.uri,
        )
        report = self._write(job, posixpath.join(rejected.uri, "reports"))
        max_rejected_fraction = exec_properties["max_rejected_fraction"]
        _log_report(report, None if report.bad_fraction > max_rejected_fraction else _LOGGED_FILES)
        _judge(report, max_rejected_fraction)
        _write_report(report, rejected.uri)

        examples.split_names = artifact_utils.encode_split_names(list(SPLITS))
        examples_utils.set_payload_format(examples, example_gen_pb2.PayloadFormat.FORMAT_TF_EXAMPLE)
        # The only name TFX has for TFRecords; its readers tell compressed files by the ending ".gz".
        examples_utils.set_file_format(examples, "tfrecords_gzip")

    def _write(self, job: _Job, reports_uri: str) -> Report:
        opened = open_source(job.source, job.class_names)
        _check_unchanged(job, opened)
        portions = opened.portions()
        write = _WriteShard(job, shards=len(portions), total=opened.count())
        # Pictures do not travel through Beam: a portion is read and written in one place, and reported on.
        try:
            with self._make_beam_pipeline() as pipeline:
                written = (
                    pipeline
                    | "Portions" >> beam.Create(list(enumerate(portions)))
                    | "Spread" >> beam.Reshuffle()
                    | "Write" >> beam.ParDo(write).with_outputs("pinned", main="reports")
                )
                leaks = (
                    written.pinned
                    | "ByContents" >> beam.GroupByKey()
                    | "Leaks" >> beam.FlatMap(lambda pair: _leak(pair[1]))
                )
                _ = (
                    (written.reports, leaks)
                    | "Collect" >> beam.Flatten()
                    | "AsText" >> beam.Map(lambda report: json.dumps(asdict(report)))
                    | "Save" >> beam.io.WriteToText(reports_uri, num_shards=1, shard_name_template="")
                )
        except (OSError, RuntimeError) as error:
            raise _cause(error, reports_uri) from error
        _check_unchanged(job, open_source(job.source, job.class_names))
        if fileio.exists(unfinished(job.uri)):
            fileio.rmtree(unfinished(job.uri))
        report = Report()
        with fileio.open(reports_uri) as lines:
            for line in lines:
                report.add(Report(**json.loads(line)))
        fileio.remove(reports_uri)
        return report


class _WriteShard(beam.DoFn):
    """Turns a numbered portion into one shard of every split; yields its report."""

    def __init__(self, job: _Job, shards: int, total: int) -> None:
        self._job = job
        self._shards = shards
        self._total = total
        self._shared = Shared()  # one count for all threads of a process

    def setup(self) -> None:
        """Opens the source, once a worker."""
        self._opened = open_source(self._job.source, self._job.class_names)
        self._progress: Progress = self._shared.acquire(lambda: Progress(self._total))

    def process(self, element: tuple[int, Any]) -> Iterator[Any]:
        """Reads and writes one portion."""
        shard, portion = element
        report = Report()
        with ShardWriter(self._job.uri, shard, self._shards) as writer:
            for picture in self._opened.read(portion):
                try:
                    identity, split, record = self._accept(picture)
                except ImageRejected as refusal:
                    report.rejected.append((picture.filename, refusal.reason, refusal.detail))
                else:
                    writer.write(split, record)
                    report.count(split, self._job.class_names[picture.label])
                    if len(picture.splits) < len(SPLITS):
                        yield beam.pvalue.TaggedOutput(
                            "pinned", (identity, (split == "test", picture.filename))
                        )
                self._progress.step()
        yield report

    def _accept(self, picture: Picture) -> tuple[bytes, str, bytes]:
        try:
            data = picture.read()
        except OSError as error:
            raise ImageRejected("cannot be read", error.strerror or str(error)) from None
        properties = inspect(data, self._job.max_pixels)
        split = splits.assign(properties.digest, self._job.split, self._job.split["seed"], picture.splits)
        return properties.digest, split, serialize(picture, data, properties, self._job.class_names)


def _check_unchanged(job: _Job, opened: Source) -> None:
    """Raises where the examples would be kept, in every cache, as those of other pictures."""
    if job.data_fingerprint and opened.fingerprint() != job.data_fingerprint:
        raise PipelineError(
            f"The pictures ({source_name(job.source)}) changed while they were read: run again when nothing "
            "changes them any more."
        )


def _leak(found: Sequence[tuple[bool, str]]) -> Iterator[Report]:
    found = sorted(found)
    if {in_test for in_test, _ in found} == {False, True}:
        yield Report(leaks=[[filename for _, filename in found]])


def _cause(error: Exception, uri: str) -> Exception:
    """Returns what went wrong in a worker, with a file name; Beam hands it on as the text of a traceback."""
    if isinstance(error, OSError):
        return OSError(error.errno, error.strerror, error.filename or uri)
    found = re.search(r"^\w*Error: \[Errno (\d+)\] ([^:[\n]+)(?:: '(.+?)')?", str(error), re.MULTILINE)
    if found is None:
        return error
    number, message, filename = found.groups()
    return OSError(int(number), message.strip(), filename or uri)


def _log_report(report: Report, most: int | None) -> None:
    """Logs the files set aside: at most so many, or all where TFX removes `rejected.csv` with the failure."""
    shown = sorted(report.rejected)[:most]
    for filename, reason, detail in shown:
        _log.warning("Set aside: %s: %s%s", filename, reason, f" ({detail})" if detail else "")
    if len(report.rejected) > len(shown):
        _log.warning("… and %s more pictures set aside.", f"{len(report.rejected) - len(shown):,}")
    if report.leaks:
        _log.warning(
            "The source has %s pictures both in its test part and elsewhere, which flatters the model: for "
            "example %s.",
            f"{len(report.leaks):,}",
            " = ".join(min(report.leaks)),
        )


def _judge(report: Report, max_rejected_fraction: float) -> None:
    accepted = {split: sum(report.accepted.get(split, {}).values()) for split in SPLITS}
    bad, total = len(report.rejected), report.total
    if report.bad_fraction > max_rejected_fraction:
        reason, count = Counter(reason for _, reason, _ in report.rejected).most_common(1)[0]
        filename, _, detail = min(row for row in report.rejected if row[1] == reason)
        raise DataRejected(
            f"{bad:,} of {total:,} images ({report.bad_fraction:.2%}) cannot be used, and "
            f"data.max_rejected_fraction allows {max_rejected_fraction:.2%}; {count:,} of them: {reason}, "
            f"for example {filename}{f' ({detail})' if detail else ''}. The log lists them all: repair or "
            "remove them, or raise data.max_rejected_fraction (catsdogs submit: "
            "--param max_rejected_fraction=SHARE)."
        )
    empty = [split for split, pictures in accepted.items() if not pictures]
    if empty:
        raise DataRejected(
            f"Of {total:,} pictures, {total - bad:,} can be used, and none of them is in the split "
            f"{empty[0]!r}: add pictures, or change the shares in data.split."
        )


def _write_report(report: Report, uri: str) -> None:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("file", "reason", "detail"))
    writer.writerows(sorted(report.rejected))
    counts = {
        "accepted": report.accepted,
        "rejected": dict(Counter(reason for _, reason, _ in report.rejected)),
        "in_test_and_elsewhere": len(report.leaks),
    }
    for name, text in {"rejected.csv": table.getvalue(), "counts.json": json.dumps(counts, indent=2)}.items():
        path = posixpath.join(uri, name)
        with os_error(path), tf.io.gfile.GFile(path, "w") as file:
            file.write(text)
