"""Starts Beam's job server for Flink, which translates Beam pipelines into Flink jobs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.errors import PipelineError
from pipelines.settings.beam import BeamConfig


@contextmanager
def start_job_server(beam: BeamConfig, staging_folder: Path) -> Iterator[BeamConfig]:
    """Starts a job server if the settings need one; it ends with the block or with this process's group.

    All steps of a run share it: it takes five seconds to start, and holds a gigabyte.

    Args:
        beam: The settings, as `prepare_cluster` returns them.
        staging_folder: Folder for the files that jobs bring along, on a disk that the TaskManagers see.

    Yields:
        The settings with the job server's address.

    Raises:
        PipelineError: The job server does not start.
    """
    flink = beam.flink
    if beam.runner == "local" or flink.job_endpoint:
        yield beam
        return
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.portability.flink_runner import FlinkJarJobServer
    from apache_beam.utils.subprocess_server import pick_port

    shutil.rmtree(staging_folder, ignore_errors=True)  # that of a killed run
    [port] = pick_port(None)
    options = [
        f"--flink_master=http://{flink.master}",
        f"--flink_version={flink.version}",
        f"--job_port={port}",
        f"--artifacts_dir={staging_folder}",
        *([f"--flink_job_server_jar={flink.job_server_jar}"] if flink.job_server_jar else []),
        *beam.args,
    ]
    server = FlinkJarJobServer(PipelineOptions(options))
    try:
        server.start()
    except Exception as error:
        raise PipelineError(
            f"Beam's job server for Flink {flink.version} does not start ({type(error).__name__}: {error}): "
            "set beam.flink.job_server_jar to its jar, which Beam otherwise downloads."
        ) from error
    try:
        yield beam.model_copy(
            update={"flink": flink.model_copy(update={"job_endpoint": f"localhost:{port}"})}
        )
    finally:
        server.stop()
        shutil.rmtree(staging_folder, ignore_errors=True)
