"""Checks that the Beam workers of a cluster see the files of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.metrics.metric import MetricsFilter

from components.errors import InputError
from pipelines.beam.arguments import cluster_arguments
from pipelines.beam.jobs import watch_jobs
from pipelines.settings.beam import BeamConfig

_TIMEOUT_SECONDS = 60
_STEP = "The check of the Beam workers"


def check_workers(beam_config: BeamConfig, paths: Sequence[str], name: str) -> None:
    """Runs a small job, in which the workers look for files; it takes some ten seconds.

    Args:
        beam_config: The settings, with the address of a job server.
        paths: Files or folders that exist.
        name: The name of the job.

    Raises:
        InputError: A worker does not see one of the paths.
        PipelineError: The job failed, or no worker has answered for a minute.
    """
    flink = beam_config.flink.model_copy(update={"idle_timeout_seconds": _TIMEOUT_SECONDS})
    with watch_jobs(flink, _STEP, name):
        pipeline = beam.Pipeline(argv=[*cluster_arguments(beam_config), f"--job_name={name}"])
        workers = range(flink.parallelism or 1)
        _ = pipeline | beam.Create(workers) | beam.Reshuffle() | beam.ParDo(_CountMissing(paths))
        result = pipeline.run()
        result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace(_CountMissing))["counters"]
    missing = {counter.key.metric.name for counter in counters if counter.result}
    for path in paths:
        if path in missing:
            raise InputError(
                f"The Beam workers of the cluster do not see {path}: mount its folder at the same place "
                "wherever a worker pool runs, or choose folders that they see (output_root, data.folder)."
            )


class _CountMissing(beam.DoFn):
    """Counts the paths that do not exist, in a counter for each."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._paths = paths

    def process(self, _worker: int) -> Iterator[None]:
        """Looks for each path."""
        for path in self._paths:
            if not FileSystems.exists(path):
                Metrics.counter(_CountMissing, path).inc()
        yield from ()
