"""`catsdogs models` and `catsdogs rollback`, run as a user does, on a folder of versions."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from serving.repository.manifest import Manifest, files_in
from serving.repository.publish import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from tests.pipelines.conftest import Command


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return tmp_path / "served"


@pytest.fixture
def repository(served: Path) -> ModelRepository:
    return open_repository(str(served), PushConfig("catsdogs", "/models/catsdogs", 5))


@pytest.fixture(name="catsdogs")
def on_the_folder(catsdogs: Command, served: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`catsdogs(*arguments)`: as everywhere, with the folder of versions as destination."""
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: catsdogs(*arguments, "--set", f"serving.destination={served}")


def publish(repository: ModelRepository, contents: str, **known: object) -> int:
    with repository.staging() as staging:
        version = staging / "version"
        version.mkdir()
        (version / "saved_model.pb").write_text(contents)
        return repository.publish(version, Manifest(files=files_in(version), **known))  # type: ignore[arg-type]


@pytest.fixture
def three(repository: ModelRepository) -> tuple[int, int, int]:
    first = publish(repository, "first")
    second = publish(repository, "second", metrics={"accuracy": 0.91}, run_id="20261122-101500")
    return first, second, publish(repository, "third", metrics={"accuracy": 0.934}, run_id="20261122-114500")


def test_models_shows_where_versions_come_from_and_what_they_are(
    catsdogs: Command, repository: ModelRepository, served: Path, three: tuple[int, int, int]
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
    assert re.match(rf"{first} .*kept, .*\bsaved_model\.pb\b", rows[2])

    repository.roll_back(second)
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
    assert status == 0
    assert str(served) in output
    assert "catsdogs run" in output
    assert json.loads(catsdogs("models", "--json")[1]) == []
    status, _, error = catsdogs("rollback")
    assert status == 2
    assert str(served) in error
    assert "catsdogs run" in error
    assert not served.exists()


def test_rollback_says_what_was_done_and_what_serves_the_other_again(
    catsdogs: Command, repository: ModelRepository, served: Path, three: tuple[int, int, int]
) -> None:
    _, second, third = three
    status, output, _ = catsdogs("rollback", "--reason", "too many dogs")
    assert status == 0
    assert {str(second), str(third)} <= set(re.findall(r"\d+", output.splitlines()[0]))
    back = re.search(rf"^catsdogs (rollback {third} --set \S+) ", output, re.MULTILINE)
    assert back is not None
    assert repository.versions().served == second
    assert repository.history()[-1].reason == "too many dogs"

    status, output, _ = catsdogs("rollback", second)
    assert status == 0
    assert str(second) in output
    assert str(third) not in output
    assert catsdogs(*back[1].split())[0] == 0
    assert repository.versions().served == third


def test_rollback_to_what_is_not_there_names_what_is(
    catsdogs: Command, served: Path, three: tuple[int, int, int]
) -> None:
    status, _, error = catsdogs("rollback", 12)
    assert status == 2
    assert all(str(named) in error for named in (12, served, *three))
    assert catsdogs("rollback", "yesterday")[0] == 2
    status, _, error = catsdogs("rollback", 2**63)
    assert status == 2
    assert str(2**63) in error


def test_where_all_that_was_served_is_gone_the_one_that_was_rolled_back_is_named(
    catsdogs: Command, repository: ModelRepository, served: Path, three: tuple[int, int, int]
) -> None:
    first, second, third = three
    repository.roll_back(None)
    for number in (first, second):
        shutil.rmtree(served / str(number))
    status, _, error = catsdogs("rollback")
    assert status == 2
    assert f"catsdogs rollback {third}" in error
    status, output, _ = catsdogs("rollback", third)
    assert status == 0
    assert str(third) in output
    assert "None" not in output


def test_a_manifest_of_another_kind_is_damage(
    catsdogs: Command, served: Path, three: tuple[int, int, int]
) -> None:
    metrics = '{"files": {"saved_model.pb": {"size": 5, "sha256": ""}}, "metrics": {"accuracy": "[/]"}}'
    (served / str(three[0]) / "manifest.json").write_text(metrics)
    status, output, error = catsdogs("models")
    assert (status, error) == (0, "")
    assert re.search(r" kept, .*\bmanifest\.json\b", output)
    assert catsdogs("models", "--json")[0] == 0


def test_names_that_look_like_markup_are_shown_as_they_are(
    catsdogs: Command, repository: ModelRepository, served: Path
) -> None:
    number = publish(repository, "first", run_id="[/]")
    manifest = served / str(number) / "manifest.json"
    document = json.loads(manifest.read_text())
    document["files"]["[/red]"] = {"size": 1, "sha256": ""}
    manifest.write_text(json.dumps(document))
    status, output, _ = catsdogs("models")
    assert status == 0
    assert re.search(r" \[/\] +served, .*\[/red\]", output)


def test_a_damaged_version_is_not_served(
    catsdogs: Command, served: Path, three: tuple[int, int, int]
) -> None:
    (served / str(three[1]) / "saved_model.pb").unlink()
    status, _, error = catsdogs("rollback")
    assert status == 1
    assert str(three[1]) in error
    assert "saved_model.pb" in error


def test_fewer_versions_than_a_server_loads_cannot_be_kept(catsdogs: Command) -> None:
    status, _, error = catsdogs("models", "--set", "serving.keep_versions=2")
    assert status == 2
    assert "serving.keep_versions" in error
    assert "3" in error


def test_a_repository_that_cannot_be_locked_is_named(catsdogs: Command, served: Path) -> None:
    (served / "1").mkdir(parents=True)
    (served / "2").mkdir()
    (served / "1" / "saved_model.pb").write_text("graph")
    (served / ".lock").mkdir()
    status, _, error = catsdogs("rollback")
    assert status == 1
    assert str(served) in error
    assert "Traceback" not in error


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
            cwd=Path(__file__).parents[3],
        )
        assert ended.stderr.endswith("[]\n"), ended.stderr
        assert time.monotonic() - started < 5
