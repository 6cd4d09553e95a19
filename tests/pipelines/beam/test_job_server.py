"""The job server of a run."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from components.errors import PipelineError
from pipelines.beam.job_server import start_job_server
from pipelines.settings.beam import BeamConfig, FlinkConfig
from tests.flink.packages import FlinkPackages


@pytest.mark.parametrize(
    "beam",
    [
        BeamConfig(),
        BeamConfig(runner="flink", flink=FlinkConfig(master="flink:8081", job_endpoint="jobs:8099")),
    ],
    ids=["local", "a job server elsewhere"],
)
def test_none_is_started_if_none_is_needed(beam: BeamConfig, tmp_path: Path) -> None:
    with start_job_server(beam, tmp_path / "staging") as settings:
        assert settings == beam


@pytest.mark.slow
def test_a_job_server_that_does_not_start_is_an_error(
    tmp_path: Path, require_tool: Callable[[str], str]
) -> None:
    require_tool("java")
    jar = tmp_path / "job-server.jar"
    jar.write_bytes(b"no archive")
    flink = FlinkConfig(master="flink:8081", version="1.19", job_server_jar=jar)
    with (
        pytest.raises(PipelineError, match="job_server_jar"),
        start_job_server(BeamConfig(runner="flink", flink=flink), tmp_path / "staging"),
    ):
        pass


@pytest.mark.flink
def test_a_job_server_and_its_files_end_with_the_run(flink_packages: FlinkPackages, tmp_path: Path) -> None:
    staging = tmp_path / "staging"
    staging.mkdir()
    (staging / "of a killed run").touch()
    flink = FlinkConfig(master="localhost:1", version="1.19", job_server_jar=flink_packages.job_server)
    with start_job_server(BeamConfig(runner="flink", flink=flink), staging) as settings:
        assert settings.flink.job_endpoint
        host, _, port = settings.flink.job_endpoint.rpartition(":")
        socket.create_connection((host, int(port)), 5).close()
        assert not (staging / "of a killed run").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), 5)
    assert not staging.exists()
