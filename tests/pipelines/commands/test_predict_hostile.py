"""`catsdogs predict` with broken and hostile servers: predictions or one sentence, never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from serving.client.retries import RetryPolicy
from tests.pipelines.conftest import Command
from tests.serving.client import hostile_server
from tests.serving.client.hostile_server import Chunks, http

PREDICTIONS = http({"predictions": [hostile_server.GOOD_ROW]})
RESPONSES: dict[str, bytes | Chunks] = hostile_server.BROKEN | {
    f"predictions: {kind}": http(b'{"predictions": %b}' % predictions)
    for kind, predictions in hostile_server.WRONG_PREDICTIONS.items()
}
WRONG_METADATA = [
    http(b'{"model_spec": {"version": %b}}' % version.encode()) for version in hostile_server.WRONG_VERSIONS
]


@pytest.fixture
def image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("serving.client.client.RetryPolicy", lambda retries, timeout: RetryPolicy(1, 0.3))
    path = tmp_path / "cat.jpg"
    path.write_bytes(b"image")
    return path


def assert_one_sentence(result: tuple[int, str, str]) -> None:
    status, out, err = result
    assert (status, out) == (1, "")
    assert len(err.splitlines()) == 1
    assert err.removesuffix("\n").isprintable()
    assert "Unexpected error" not in err


@pytest.mark.parametrize("kind", RESPONSES)
def test_a_broken_response_is_one_sentence(catsdogs: Command, image: Path, kind: str) -> None:
    def reply(request: str) -> bytes | Chunks:
        return http(hostile_server.GOOD_METADATA) if request.startswith("GET") else RESPONSES[kind]

    with hostile_server.running(reply) as address:
        assert_one_sentence(catsdogs("predict", image, "--url", f"http://{address}"))


@pytest.mark.parametrize("metadata", WRONG_METADATA)
def test_wrong_metadata_is_one_sentence(catsdogs: Command, image: Path, metadata: bytes) -> None:
    with hostile_server.running(lambda _: metadata) as address:
        assert_one_sentence(catsdogs("predict", image, "--url", f"http://{address}"))


@pytest.mark.slow  # imports TensorFlow
def test_a_broken_grpc_response_is_one_sentence(image: Path) -> None:
    status_that_grpc_logs = "none"
    with hostile_server.running(lambda _: hostile_server.grpc(b"", status_that_grpc_logs)) as address:
        command = [sys.executable, "-m", "pipelines.cli", "predict", str(image), "--url", f"grpc://{address}"]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert_one_sentence((ended.returncode, ended.stdout, ended.stderr))


def test_a_server_that_closes_every_connection_is_used(catsdogs: Command, image: Path) -> None:
    def reply(request: str) -> bytes:
        return http(hostile_server.GOOD_METADATA) if request.startswith("GET") else PREDICTIONS

    with hostile_server.running(reply) as address:
        status, out, err = catsdogs("predict", image, "--url", f"http://{address}")
    assert (status, err) == (0, "")
    assert "0.7500" in out
