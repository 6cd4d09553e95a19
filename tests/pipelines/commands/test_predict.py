from __future__ import annotations

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipelines.conftest import Command
from tests.serving.client.scripted_server import (
    ReceivedRequest,
    Response,
    ScriptedServer,
    predictions_response,
    scripted_server,
)

UNKNOWN = "assertion failed: [The image is neither a JPEG nor a PNG.]\n\t [[{{node Assert}}]]"


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    """Serves one model: predicts dog if a file starts with "dog", rejects files that start with "bad"."""

    def respond(request: ReceivedRequest) -> Response:
        if not request.path.startswith("/v1/models/catsdogs/"):
            return Response(404, {"error": "Servable not found for request: Latest(other)"})
        if request.method == "GET":
            return Response(body={"model_spec": {"name": "catsdogs", "version": "17"}})
        images = [base64.b64decode(row["b64"]) for row in request.body["instances"]]
        if any(image.startswith(b"bad") for image in images):
            return Response(400, {"error": UNKNOWN})
        return predictions_response(*[0.875 if image.startswith(b"dog") else 0.125 for image in images])

    with scripted_server(respond) as running:
        yield running


@pytest.fixture
def predict(server: ScriptedServer, catsdogs: Command) -> Command:
    """`predict(*arguments)`: runs the command against the server, or against `url`."""
    return lambda *arguments, url=server.url: catsdogs("predict", "--url", url, *arguments)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("cat 1.jpg", "dog [2].jpg", "dog3.png"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def rows(table: str) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in table.splitlines()]


def test_the_default_output_is_a_table(predict: Command, images: Path) -> None:
    status, out, err = predict(images)
    assert (status, err) == (0, "")
    assert rows(out) == [
        ["file", "label", "dog probability", "version"],
        [str(images / "cat 1.jpg"), "cat", "0.1250", "17"],
        [str(images / "dog [2].jpg"), "dog", "0.8750", "17"],
        [str(images / "dog3.png"), "dog", "0.8750", "17"],
    ]


def test_json_output_has_one_object_per_line(
    predict: Command, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"dog")))
    status, out, err = predict("-", images / "cat 1.jpg", "--json", "--batch", 1)
    assert (status, err) == (0, "")
    dog = {"probability": 0.875, "probability_of": "dog", "label": "dog", "version": 17}
    cat = {"probability": 0.125, "probability_of": "dog", "label": "cat", "version": 17}
    assert [json.loads(line) for line in out.splitlines()] == [
        {"file": "-", **dog},
        {"file": str(images / "cat 1.jpg"), **cat},
    ]


def test_a_pipe_and_a_device_are_reported_and_the_images_are_classified(
    predict: Command, images: Path
) -> None:
    os.mkfifo(images / "pipe.jpg")
    (images / "zero.jpg").symlink_to("/dev/zero")
    status, out, err = predict(images)
    pipe, device = err.splitlines()
    assert status == 1
    assert f"{images}/pipe.jpg" in pipe
    assert f"{images}/zero.jpg" in device
    assert len(rows(out)) == 4


def test_a_bad_image_is_reported_and_the_others_are_classified(predict: Command, images: Path) -> None:
    (images / "bad.jpg").write_bytes(b"bad")
    (images / "empty.jpg").touch()
    status, out, errors = predict(images)
    empty, bad = errors.splitlines()
    assert status == 1
    assert f"{images}/empty.jpg" in empty
    assert f"{images}/bad.jpg" in bad
    assert "was rejected: The image is neither a JPEG nor a PNG." in bad  # the server's message
    assert len(rows(out)) == 4
    status, out, err = predict(images, "--json")
    assert (status, err) == (1, errors)
    lines = {Path(line["file"]).name: line for line in map(json.loads, out.splitlines())}
    assert [name for name, line in lines.items() if "error" in line] == ["empty.jpg", "bad.jpg"]
    assert [name for name, line in lines.items() if "label" in line] == [
        "cat 1.jpg",
        "dog [2].jpg",
        "dog3.png",
    ]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_texts_of_the_server_and_file_names_are_printable(
    catsdogs: Command, tmp_path: Path, options: tuple[str, ...]
) -> None:
    def respond(request: ReceivedRequest) -> Response:
        if request.method == "GET":
            return Response(body={"model_spec": {"version": "17"}})
        if base64.b64decode(request.body["instances"][0]["b64"]) == b"bad":
            return Response(400, {"error": "[/x] \x1b[2J\ud800"})
        return Response(body={"predictions": [{"[/x]\x9b_probability": 1, "label": "[/x]\x1b[2J\ud800\n"}]})

    for name in ("bad", "good"):
        (tmp_path / f"{name}[x]\x1b[2J.jpg").write_bytes(name.encode())
    with scripted_server(respond) as server:
        status, out, err = catsdogs("predict", "--url", server.url, tmp_path, "--batch", 1, *options)
    assert status == 1
    assert r"bad[x]\x1b[2J.jpg was rejected: [/x] \x1b[2J\ud800" in err
    assert not {"\x1b", "\x9b", "\ud800"} & {*out, *err}
    if options:
        assert json.loads(out.splitlines()[1])["label"] == "[/x]\x1b[2J\ud800\n"
    else:
        heading, row = rows(out)
        assert heading == ["file", "label", r"[/x]\x9b probability", "version"]
        assert row == [rf"{tmp_path}/good[x]\x1b[2J.jpg", r"[/x]\x1b[2J\ud800\n", "1.0000", "17"]


def test_version_and_label_select_the_model(predict: Command, server: ScriptedServer, images: Path) -> None:
    assert predict(images, "--version", 5)[0] == 0
    assert server.requests[-1].path == "/v1/models/catsdogs/versions/5:predict"
    assert predict(images, "--label", "stable")[0] == 0
    assert server.requests[-2].path == "/v1/models/catsdogs/labels/stable/metadata"
    assert server.requests[-1].path == "/v1/models/catsdogs/versions/17:predict"


def test_a_missing_model_is_reported_once(predict: Command, images: Path, server: ScriptedServer) -> None:
    status, out, err = predict(images, "--model-name", "other")
    assert (status, out) == (1, "")
    assert server.url in err
    assert "Servable not found for request: Latest(other)" in err  # the server's message
    assert len(err.splitlines()) == 1


def test_an_unreachable_server_is_an_error_that_names_it(predict: Command, images: Path) -> None:
    status, out, err = predict(images, url="http://127.0.0.1:9")
    assert (status, out) == (1, "")
    assert "http://127.0.0.1:9" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "value"),
    [
        (["/no/such/file.jpg"], "/no/such/file.jpg"),
        (["{}/empty"], "/empty"),
        (["{}", "--url", "ftp://host"], "ftp://host"),
        (["{}", "--version", "1", "--label", "stable"], "'stable'"),
        (["{}", "--url", "grpc://localhost", "--version", "9" * 23], "9" * 23),
        (["{}", "--batch", "0"], "--batch"),
        ([], "IMAGE..."),
    ],
)
def test_bad_usage_exits_with_2(predict: Command, images: Path, arguments: list[str], value: str) -> None:
    (images / "empty").mkdir()
    status, out, err = predict(*(argument.format(images) for argument in arguments))
    assert (status, out) == (2, "")
    assert value in " ".join(err.replace("│", "").split())


def test_no_heavy_imports_over_rest(server: ScriptedServer, images: Path) -> None:
    script = """
import sys
from pipelines.cli import main
try:
    main()
finally:
    heavy = {"tensorflow", "tfx", "apache_beam", "grpc", "google.protobuf", "numpy", "PIL"}
    print("heavy:", sorted(heavy & set(sys.modules)))
"""
    arguments = ["predict", str(images), "--url", server.url]
    before = os.times()
    ended = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=True
    )
    after = os.times()
    assert len(server.requests) > 1
    assert ended.stdout.endswith("heavy: []\n")
    cpu_seconds = after.children_user + after.children_system - before.children_user - before.children_system
    assert cpu_seconds < 1


def test_an_interrupt_prints_the_predictions_so_far(images: Path) -> None:
    def respond(request: ReceivedRequest) -> Response:
        if request.method == "GET":
            return Response(body={"model_spec": {"version": "17"}})
        if b"dog3" in base64.b64decode(request.body["instances"][0]["b64"]):
            running.send_signal(signal.SIGINT)
            return Response(503, {}, {"Retry-After": "30"})
        return predictions_response(0.5)

    with scripted_server(respond) as server:
        command = [sys.executable, "-m", "pipelines.cli", "predict", str(images), "--batch", "1"]
        running = subprocess.Popen(
            [*command, "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (130, "")
    assert len(rows(out)) == 3
