"""`catsdogs models` and `catsdogs rollback`, run as a user does, on a folder of versions."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from pipelines import cli
from pipelines.served_commands import _table
from serving.publication.listing import listed
from serving.publication.manifest import Manifest, files_in
from serving.publication.place import Place, Terms, open_place

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return tmp_path / "served"


@pytest.fixture
def place(served: Path) -> Place:
    return open_place(str(served), Terms("catsdogs", "/models/catsdogs", 5))


@pytest.fixture
def catsdogs(served: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`catsdogs(*arguments)`: exit status, stdout, stderr of the command, run in this process."""
    monkeypatch.setenv("COLUMNS", "160")

    def call(*arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        words = ["catsdogs", *map(str, arguments), "--set", f"serving.destination={served}"]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return (int(ended.value.code or 0), *capsys.readouterr())

    return call


def publish(place: Place, contents: str, **known: object) -> int:
    with place.staging() as staging:
        version = staging / "version"
        version.mkdir()
        (version / "saved_model.pb").write_text(contents)
        return place.publish(version, Manifest(files=files_in(version), **known))  # type: ignore[arg-type]


@pytest.fixture
def three(place: Place) -> tuple[int, int, int]:
    first = publish(place, "first")
    second = publish(place, "second", metrics={"accuracy": 0.91}, run_id="20261122-101500")
    return first, second, publish(place, "third", metrics={"accuracy": 0.934}, run_id="20261122-114500")


def test_models_shows_where_versions_come_from_and_what_they_are(
    catsdogs: Command, place: Place, served: Path, three: tuple[int, int, int]
) -> None:
    first, second, third = three
    (served / str(first) / "saved_model.pb").write_text("First")
    status, output, _ = catsdogs("models")
    assert status == 0
    heading, *rows = output.splitlines()
    assert heading.split() == ["version", "pushed", "accuracy", "run", "state", "size"]
    assert re.fullmatch(
        rf"{third} +\d{{4}}-\d\d-\d\d \d\d:\d\d 93\.40% +20261122-114500 served .*MB *", rows[0]
    )
    assert re.match(rf"{second} .*91\.00% .*20261122-101500 stable ", rows[1])
    assert re.match(rf"{first} .*kept, damaged: saved_model.pb has changed since it was pushed ", rows[2])

    place.roll_back(second)
    rows = catsdogs("models")[1].splitlines()[1:]
    assert [row.split()[0] for row in rows] == [str(third), str(second), str(first)]
    assert "withdrawn" in rows[0]
    assert "served" in rows[1]


def test_models_as_json_says_the_same(catsdogs: Command, three: tuple[int, int, int]) -> None:
    status, output, _ = catsdogs("models", "--json")
    assert status == 0
    rows = json.loads(output)
    assert [row["version"] for row in rows] == list(reversed(three))
    assert [row["state"] for row in rows] == ["served", "stable", "kept"]
    assert [row["labels"] for row in rows] == [["canary"], ["stable"], []]
    assert rows[0]["accuracy"] == 0.934
    assert rows[0]["damage"] is None
    assert rows[2]["run_id"] is None


def test_where_nothing_was_pushed_yet_the_command_that_pushes_is_named(
    catsdogs: Command, served: Path
) -> None:
    status, output, _ = catsdogs("models")
    assert (status, output) == (
        0,
        f"There are no versions in {served} yet: catsdogs run pushes the first.\n",
    )
    assert json.loads(catsdogs("models", "--json")[1]) == []
    status, _, error = catsdogs("rollback")
    assert (status, error) == (
        2,
        f"There are no versions in {served} yet: catsdogs run pushes the first.\n",
    )
    assert not served.exists()


def test_rollback_says_what_was_done_and_what_serves_the_other_again(
    catsdogs: Command, place: Place, served: Path, three: tuple[int, int, int]
) -> None:
    _, second, third = three
    status, output, _ = catsdogs("rollback", "--reason", "too many dogs")
    assert status == 0
    assert f"Version {second} is the newest in {served} now, and was {third}." in output
    assert "about a second" in output
    back = re.search(rf"^catsdogs (rollback .*?)    serves {third} again: nothing", output, re.MULTILINE)
    assert back is not None
    assert back[1] == f"rollback {third} --set serving.destination={served}"
    assert place.stock().served == second
    assert place.history()[-1].reason == "too many dogs"

    status, output, _ = catsdogs("rollback", second)
    assert (status, output) == (
        0,
        f"Version {second} in {served} is served already: nothing was changed.\n",
    )
    assert catsdogs("rollback", third)[0] == 0
    assert place.stock().served == third


def test_rollback_to_what_is_not_there_names_what_is(
    catsdogs: Command, served: Path, three: tuple[int, int, int]
) -> None:
    status, _, error = catsdogs("rollback", 12)
    assert status == 2
    assert error == f"There is no version 12 in {served}; there are {', '.join(map(str, three))}.\n"
    assert catsdogs("rollback", "yesterday")[0] == 2
    status, _, error = catsdogs("rollback", 2**63)
    assert status == 2
    assert error.startswith(f"There is no version {2**63} in {served}; there are ")


def test_where_all_that_was_served_is_gone_the_one_that_was_rolled_back_is_named(
    catsdogs: Command, place: Place, served: Path, three: tuple[int, int, int]
) -> None:
    first, second, third = three
    place.roll_back(None)
    for number in (first, second):
        shutil.rmtree(served / str(number))
    assert catsdogs("rollback")[::2] == (
        2,
        f"No version in {served} is served; version {third} was rolled back, and catsdogs rollback {third} "
        "brings it back.\n",
    )
    status, output, _ = catsdogs("rollback", third)
    assert status == 0
    assert output.startswith(f"Version {third} is the newest in {served} now, and none was before.\n")
    assert "None" not in output


@pytest.mark.parametrize(
    "manifest",
    [
        '{"files": {}}',
        '{"files": {"saved_model.pb": {"size": "1", "sha256": ""}}}',
        '{"files": {"saved_model.pb": {"size": 5, "sha256": ""}}, "metrics": {"accuracy": "[/]"}}',
    ],
)
def test_a_manifest_of_another_kind_is_damage(
    catsdogs: Command, served: Path, three: tuple[int, int, int], manifest: str
) -> None:
    (served / str(three[0]) / "manifest.json").write_text(manifest)
    status, output, error = catsdogs("models")
    assert (status, error) == (0, "")
    assert "kept, damaged: manifest.json cannot be read" in output
    assert catsdogs("models", "--json")[0] == 0


def test_names_that_look_like_markup_are_shown_as_they_are(
    catsdogs: Command, place: Place, served: Path
) -> None:
    number = publish(place, "first", run_id="[/]")
    manifest = served / str(number) / "manifest.json"
    document = json.loads(manifest.read_text())
    document["files"]["[/red]"] = {"size": 1, "sha256": ""}
    manifest.write_text(json.dumps(document))
    status, output, _ = catsdogs("models")
    assert status == 0
    assert re.search(r" \[/\] +served, damaged: \[/red\] is missing ", output)


def test_a_long_file_name_hides_no_column(
    catsdogs: Command, place: Place, served: Path, three: tuple[int, int, int]
) -> None:
    name = f"{'long/' * 30}name"
    manifest = served / str(three[0]) / "manifest.json"
    document = json.loads(manifest.read_text())
    document["files"] = {name: {"size": 1, "sha256": ""}, **document["files"]}
    manifest.write_text(json.dumps(document))

    assert f"kept, damaged: {name} is missing" in catsdogs("models")[1], "a program gets it in one line"

    narrow = io.StringIO()
    Console(width=80, file=narrow).print(_table(listed(place)))
    lines = narrow.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[:4]] == ["version", *map(str, reversed(three))]
    assert lines[0].split() == ["version", "pushed", "accuracy", "run", "state", "size"]
    assert "served" in lines[1]
    folded = "".join(line[lines[0].index("state") : lines[0].index("size")].strip() for line in lines[3:])
    assert folded.replace(" ", "") == f"kept,damaged:{name}ismissing"


def test_a_damaged_version_is_not_served(
    catsdogs: Command, served: Path, three: tuple[int, int, int]
) -> None:
    (served / str(three[1]) / "saved_model.pb").unlink()
    status, _, error = catsdogs("rollback")
    assert status == 1
    assert f"Version {three[1]} in {served} is damaged (saved_model.pb is missing)" in error


def test_fewer_versions_than_a_server_loads_cannot_be_kept(catsdogs: Command) -> None:
    status, _, error = catsdogs("models", "--set", "serving.keep_versions=2")
    assert status == 2
    assert "serving.keep_versions" in error
    assert "3" in error


def test_a_place_that_is_no_folder_is_told(catsdogs: Command, served: Path) -> None:
    (served / "1").mkdir(parents=True)
    (served / "2").mkdir()
    (served / "1" / "saved_model.pb").write_text("graph")
    (served / ".lock").mkdir()
    status, _, error = catsdogs("rollback")
    assert status == 1
    assert re.match(rf"{served} cannot be used \(.*\): check that it is a folder", error)


def test_both_start_at_once(served: Path) -> None:
    script = """
import sys
from pipelines.cli import main
try:
    main()
finally:
    heavy = {"tensorflow", "tfx", "apache_beam", "google.cloud.storage", "ml_metadata", "kfp"}
    print(sorted(heavy & sys.modules.keys()), file=sys.stderr)
"""
    for command in ("models", "rollback"):
        started = time.monotonic()
        ended = subprocess.run(
            [sys.executable, "-c", script, command, "--set", f"serving.destination={served}"],
            capture_output=True,
            text=True,
            check=False,
            cwd=Path(__file__).parents[2],
        )
        assert ended.stderr.endswith("[]\n"), ended.stderr
        assert time.monotonic() - started < 5
