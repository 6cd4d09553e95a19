"""The client of Flink's REST service."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest
import urllib3

from components.errors import PipelineError
from pipelines.beam import flink
from pipelines.beam.flink import Cluster, JobManager
from tests.pipelines.beam.conftest import Serve

OVERVIEW = {"flink-version": "1.19.3", "slots-total": 4, "slots-available": 1}


def test_a_cluster_has_a_version_and_slots(serve: Serve) -> None:
    assert JobManager(serve({"/overview": OVERVIEW})).cluster() == Cluster("1.19.3", 4, 1)


@pytest.mark.parametrize(
    "documents",
    [{}, {"/overview": b"<html>A page</html>"}, {"/overview": {"pods": 3}}],
    ids=["nothing", "a page", "other JSON"],
)
def test_another_service_is_a_wrong_setting(serve: Serve, documents: dict[str, object]) -> None:
    address = serve(documents)
    with pytest.raises(PipelineError, match=address) as raised:
        JobManager(address).cluster()
    assert raised.value.exit_status == 2


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        yield listener


def test_a_service_that_does_not_speak_http_is_a_wrong_setting(listener: socket.socket) -> None:
    def answer() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"\x00\x00\x12\x04\x00\x00")  # as HTTP/2 starts

    listener.listen()
    threading.Thread(target=answer).start()
    with pytest.raises(PipelineError) as raised:
        JobManager(f"127.0.0.1:{listener.getsockname()[1]}").cluster()
    assert raised.value.exit_status == 2


def test_a_job_manager_that_starts_is_no_wrong_setting(serve: Serve) -> None:
    with pytest.raises(PipelineError, match="not started") as raised:
        JobManager(serve({"/overview": 503})).cluster()
    assert raised.value.exit_status == 1


@pytest.mark.parametrize("listens", [False, True], ids=["refused", "silent"])
def test_a_job_manager_that_does_not_answer_is_named(
    listener: socket.socket, listens: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flink, "_TIMEOUT", urllib3.Timeout(0.2))
    if listens:
        listener.listen()
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    with pytest.raises(PipelineError, match=address) as raised:
        JobManager(address).cluster()
    assert raised.value.exit_status == 1
    assert ("Connection refused" in str(raised.value)) == (not listens)


def test_an_unknown_host_is_named() -> None:
    with pytest.raises(PipelineError, match="no-such-host.invalid:8081") as raised:
        JobManager("no-such-host.invalid:8081").cluster()
    assert raised.value.exit_status == 1
