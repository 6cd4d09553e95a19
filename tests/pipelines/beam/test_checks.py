"""The checks of a Flink cluster before a run."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError, PipelineError
from pipelines.beam.checks import prepare_cluster
from pipelines.settings.beam import BeamConfig, FlinkConfig
from tests.pipelines.beam.conftest import Serve


@pytest.fixture
def job_server() -> Iterator[str]:
    """The address of something that accepts connections."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def prepare(**flink: Any) -> FlinkConfig:
    return prepare_cluster(BeamConfig(runner="flink", flink=FlinkConfig(**flink)), "pets-")[0].flink


def documents(
    version: str = "1.20.1", slots: int = 4, free: int = 3, host: str = "127.0.0.1"
) -> dict[str, Any]:
    """What a JobManager answers."""
    return {
        "/overview": {"flink-version": version, "slots-total": slots, "slots-available": free},
        "/jobs/overview": {"jobs": []},
        "/taskmanagers": {
            "taskmanagers": [{"id": "tm1", "path": f"pekko.tcp://flink@{host}:4711/user/rpc/taskmanager_0"}]
        },
    }


def test_the_cluster_decides_what_the_settings_leave_open(serve: Serve, job_server: str) -> None:
    found = prepare(master=serve(documents()), job_endpoint=job_server)
    assert (found.version, found.parallelism) == ("1.20", 3)


def test_the_settings_prevail(serve: Serve, job_server: str) -> None:
    found = prepare(master=serve(documents()), job_endpoint=job_server, version="1.20", parallelism=2)
    assert (found.version, found.parallelism) == ("1.20", 2)


@pytest.mark.parametrize(
    ("flink", "cluster", "named"),
    [
        ({"master": None}, {}, "beam.flink.master"),
        ({"version": "1.19"}, {"version": "1.20.1"}, "1.20"),
        ({}, {"version": "1.17.2"}, "1.17.2"),
        ({}, {"host": "192.0.2.7"}, "192.0.2.7"),
    ],
)
def test_a_wrong_setting_is_named(
    serve: Serve, job_server: str, flink: dict[str, Any], cluster: dict[str, Any], named: str
) -> None:
    settings = {"master": serve(documents(**cluster)), "job_endpoint": job_server} | flink
    with pytest.raises(InputError, match=named):
        prepare(**settings)


def test_a_task_manager_elsewhere_needs_external_workers(serve: Serve, job_server: str) -> None:
    master = serve(documents(host="192.0.2.7"))
    assert prepare(master=master, job_endpoint=job_server, environment="external").parallelism == 3


@pytest.mark.parametrize(("slots", "named"), [(0, "TaskManager"), (4, "4 task slots")])
def test_a_cluster_without_a_free_slot_is_refused(
    serve: Serve, job_server: str, slots: int, named: str
) -> None:
    with pytest.raises(PipelineError, match=named) as raised:
        prepare(master=serve(documents(slots=slots, free=0)), job_endpoint=job_server)
    assert raised.value.exit_status == 1


def test_more_parallel_subtasks_than_free_slots_are_refused(serve: Serve, job_server: str) -> None:
    master = serve(documents(slots=4, free=3))
    assert prepare(master=master, job_endpoint=job_server, parallelism=3).parallelism == 3
    with pytest.raises(PipelineError, match=r"3 of the 4 .* takes 4"):
        prepare(master=master, job_endpoint=job_server, parallelism=4)


def test_a_job_server_that_does_not_answer_is_named(serve: Serve) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(PipelineError, match=address) as raised:
            prepare(master=serve(documents()), job_endpoint=address)
    assert raised.value.exit_status == 1


def test_a_jar_that_is_missing_is_named(serve: Serve, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="missing.jar"):
        prepare(master=serve(documents()), job_server_jar=tmp_path / "missing.jar")


@pytest.mark.parametrize("variable", ["PATH", "JAVA_HOME"])
@pytest.mark.parametrize(
    ("version", "is_enough"), [("11.0.2", True), ("21", True), ("1.8.0_292", False), (None, False)]
)
def test_the_job_server_needs_java(
    serve: Serve,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    version: str | None,
    is_enough: bool,
) -> None:
    (tmp_path / "bin").mkdir()
    if version:
        java = tmp_path / "bin" / "java"
        java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2022-01-01' >&2\n")
        java.chmod(0o755)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "bin" if variable == "PATH" else tmp_path))
    master = serve(documents())
    if is_enough:
        prepare(master=master)
        return
    with pytest.raises(PipelineError, match=variable if version is None else str(tmp_path)) as raised:
        prepare(master=master)
    assert raised.value.exit_status == 1
