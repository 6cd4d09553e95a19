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
from tests.serving.client.scripted import Answer, Asked, Scripted, predictions, scripted

UNKNOWN = "Unknown image file format. One of JPEG, PNG, GIF, BMP required.\n\t [[{{node DecodeImage}}]]"


@pytest.fixture
def server() -> Iterator[Scripted]:
    """Knows one model; says dog where a file begins with one, and refuses what is bad."""

    def answer(asked: Asked) -> Answer:
        if not asked.path.startswith("/v1/models/catsdogs/"):
            return Answer(404, {"error": "Servable not found for request: Latest(other)"})
        if asked.method == "GET":
            return Answer(body={"model_spec": {"name": "catsdogs", "version": "17"}})
        sent = [base64.b64decode(row["b64"]) for row in asked.body["instances"]]
        if any(picture.startswith(b"bad") for picture in sent):
            return Answer(400, {"error": UNKNOWN})
        return predictions(*[0.875 if picture.startswith(b"dog") else 0.125 for picture in sent])

    with scripted(answer) as running:
        yield running


@pytest.fixture
def predict(server: Scripted, catsdogs: Command) -> Command:
    """`predict(*arguments)`: the command, sent to the server unless `url` is another."""
    return lambda *arguments, url=server.url: catsdogs("predict", "--url", url, *arguments)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for name in ("cat 1.jpg", "dog [2].jpg", "dog3.png"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def rows(table: str) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in table.splitlines()]


def test_people_get_a_table(predict: Command, pictures: Path) -> None:
    status, out, err = predict(pictures)
    assert (status, err) == (0, "")
    assert rows(out) == [
        ["file", "label", "dog probability", "version"],
        [str(pictures / "cat 1.jpg"), "cat", "0.1250", "17"],
        [str(pictures / "dog [2].jpg"), "dog", "0.8750", "17"],
        [str(pictures / "dog3.png"), "dog", "0.8750", "17"],
    ]


def test_programs_get_a_json_object_a_line(
    predict: Command, pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"dog")))
    status, out, err = predict("-", pictures / "cat 1.jpg", "--json", "--batch", 1)
    assert (status, err) == (0, "")
    dog = {"probability": 0.875, "probability_of": "dog", "label": "dog", "version": 17}
    cat = {"probability": 0.125, "probability_of": "dog", "label": "cat", "version": 17}
    assert [json.loads(line) for line in out.splitlines()] == [
        {"file": "-", **dog},
        {"file": str(pictures / "cat 1.jpg"), **cat},
    ]


def test_a_bad_picture_is_named_and_the_others_have_their_answers(predict: Command, pictures: Path) -> None:
    (pictures / "bad.jpg").write_bytes(b"bad")
    (pictures / "empty.jpg").touch()
    status, out, told = predict(pictures)
    empty, bad = told.splitlines()
    assert status == 1
    assert f"{pictures}/empty.jpg" in empty
    assert f"{pictures}/bad.jpg" in bad
    assert UNKNOWN.splitlines()[0] in bad  # the server's own words
    assert len(rows(out)) == 4
    status, out, err = predict(pictures, "--json")
    assert (status, err) == (1, told)
    found = {Path(line["file"]).name: line for line in map(json.loads, out.splitlines())}
    assert [name for name, line in found.items() if "error" in line] == ["empty.jpg", "bad.jpg"]
    assert [name for name, line in found.items() if "label" in line] == [
        "cat 1.jpg",
        "dog [2].jpg",
        "dog3.png",
    ]


def test_version_and_label_are_asked_for(predict: Command, server: Scripted, pictures: Path) -> None:
    assert predict(pictures, "--version", 5)[0] == 0
    assert server.asked[-1].path == "/v1/models/catsdogs/versions/5:predict"
    assert predict(pictures, "--label", "stable")[0] == 0
    assert server.asked[-2].path == "/v1/models/catsdogs/labels/stable/metadata"
    assert server.asked[-1].path == "/v1/models/catsdogs/versions/17:predict"


def test_what_the_server_does_not_have_is_told_once(
    predict: Command, pictures: Path, server: Scripted
) -> None:
    status, out, err = predict(pictures, "--model-name", "other")
    assert (status, out) == (1, "")
    assert server.url in err
    assert "Servable not found for request: Latest(other)" in err  # the server's own words
    assert len(err.splitlines()) == 1


def test_no_server(predict: Command, pictures: Path) -> None:
    status, out, err = predict(pictures, url="http://127.0.0.1:9")
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
def test_bad_usage_ends_with_2(predict: Command, pictures: Path, arguments: list[str], value: str) -> None:
    (pictures / "empty").mkdir()
    status, out, err = predict(*(one.format(pictures) for one in arguments))
    assert (status, out) == (2, "")
    assert value in " ".join(err.replace("│", "").split())


def test_over_rest_it_imports_nothing_heavy(server: Scripted, pictures: Path) -> None:
    script = """
import sys
from pipelines.cli import main
try:
    main()
finally:
    heavy = {"tensorflow", "tfx", "apache_beam", "grpc", "google.protobuf", "numpy", "PIL"}
    print("heavy:", sorted(heavy & set(sys.modules)))
"""
    asked = ["predict", str(pictures), "--url", server.url]
    before = os.times()
    shown = subprocess.run([sys.executable, "-c", script, *asked], capture_output=True, text=True, check=True)
    after = os.times()
    assert len(server.asked) > 1
    assert shown.stdout.endswith("heavy: []\n")
    worked = after.children_user + after.children_system - before.children_user - before.children_system
    assert worked < 1


def test_an_interrupt_leaves_what_is_known(pictures: Path) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer(body={"model_spec": {"version": "17"}})
        if b"dog3" in base64.b64decode(asked.body["instances"][0]["b64"]):
            running.send_signal(signal.SIGINT)
            return Answer(503, {}, {"Retry-After": "30"})
        return predictions(0.5)

    with scripted(answer) as server:
        command = [sys.executable, "-m", "pipelines.cli", "predict", str(pictures), "--batch", "1"]
        running = subprocess.Popen(
            [*command, "--url", server.url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        out, err = running.communicate(timeout=30)
    assert (running.returncode, err) == (130, "")
    assert len(rows(out)) == 3
