"""Each response of a broken or hostile REST server becomes predictions or one error."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import pytest

from serving.client import Client
from serving.client.protocol import MAX_RESPONSE_BYTES
from serving.errors import ServingError
from tests.serving.client import hostile_server
from tests.serving.client.hostile_server import Chunks, http

TIMEOUT = 0.3


def send(name: str, content: bytes | Chunks) -> Any:
    """Sends a request to a server that responds with the content; returns the result."""
    arguments = [[b"image"]] if name == "predict" else []
    with (
        hostile_server.running(lambda _: content) as address,
        Client(f"http://{address}", timeout=TIMEOUT, retries=1) as client,
    ):
        return getattr(client, name)(*arguments)


@pytest.mark.parametrize("kind", hostile_server.BROKEN)
def test_a_broken_response_is_an_error_within_the_time_limit(
    kind: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    started = time.monotonic()
    with pytest.raises(ServingError) as error:
        send("predict", hostile_server.BROKEN[kind])
    assert time.monotonic() - started < TIMEOUT + 3
    assert len(str(error.value).splitlines()) == 1
    assert len(str(error.value)) < 1300
    assert "http://127.0.0.1:" in str(error.value)
    assert (caplog.text, capfd.readouterr()) == ("", ("", ""))


@pytest.mark.parametrize("kind", hostile_server.WRONG_PREDICTIONS)
def test_wrong_predictions_are_an_error(kind: str) -> None:
    predictions = hostile_server.WRONG_PREDICTIONS[kind]
    with pytest.raises(ServingError) as error:
        send("predict", http(b'{"predictions": %b}' % predictions))
    assert len(str(error.value)) < 400


@pytest.mark.parametrize("version", hostile_server.WRONG_VERSIONS)
def test_a_wrong_version_is_an_error(version: str) -> None:
    body = '{"model_spec": {"version": %s}, "model_version_status": [{"version": %s, "state": "END"}]}'
    for name in ("metadata", "status"):
        with pytest.raises(ServingError, match="8501"):
            send(name, http((body % (version, version)).encode()))


@pytest.mark.parametrize("status", hostile_server.WRONG_STATUSES)
def test_a_wrong_status_is_an_error(status: str) -> None:
    with pytest.raises(ServingError, match="8501"):
        send("status", http(b'{"model_version_status": %b}' % status.encode()))


ROW = hostile_server.GOOD_ROW


@pytest.mark.parametrize(
    "content",
    [
        http({"predictions": [ROW]}) + b"HTTP/1.1 200 OK\r\n\r\ngarbage",
        http({"predictions": [ROW]}).replace(b"\r\nContent-Length", b"\r\nX: \x1b\r\nContent-Length"),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" + http({"predictions": [ROW]}),
        http(b'{"predictions": 1, "predictions": [{"dog_probability": 0.75, "label": "dog"}]}'),
        http({"predictions": [ROW]}, headers={"Content-Type": "text/html; charset=x"}),
        http({"predictions": [{**ROW, "dog_probability": 0}]}),
        http({"predictions": [{**ROW, "dog_probability": 1}]}),
    ],
)
def test_odd_but_valid_responses_are_predictions(content: bytes) -> None:
    [prediction] = send("predict", content)
    assert prediction.label == "dog"


def test_the_largest_response_is_read() -> None:
    assert send("status", http(b'{"model_version_status": []}'.ljust(MAX_RESPONSE_BYTES))) == []


def test_memory_is_bounded() -> None:
    script = """
import contextlib, re, sys
from pathlib import Path
from serving.errors import ServingError
from tests.serving.client import hostile_server, test_hostile_rest

def peak():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

for kind in sys.argv[1:]:
    content = hostile_server.BROKEN[kind]
    if "endless" not in kind:
        content = b"".join(content(None))
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = peak()
    with contextlib.suppress(ServingError):
        test_hostile_rest.send("predict", content)
    print(peak() - before)
"""
    kinds = ["gzip bomb", "endless body", "endless headers", "too many small lists", "small lists"]
    command = [sys.executable, "-c", script, *kinds]
    grown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert max(map(int, grown)) < 160, grown  # MiB; lists of 4 MiB take 107
