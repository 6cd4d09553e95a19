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

from serving.repository.manifest import Manifest, checksum_files
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from tests.pipelines.conftest import Command


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return tmp_path / "served"


@pytest.fixture
def repository(served: Path) -> ModelRepository:
    return open_repository(str(served), PushConfig("catsdogs", "/models/catsdogs", 5))


@pytest.fixture(name="catsdogs")
def command_with_destination(catsdogs: Command, served: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """`catsdogs(*arguments)`: runs the command with `served` as the destination."""
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: catsdogs(*arguments, "--set", f"serving.destination={served}")


def push_model(repository: ModelRepository, contents: str, **known: object) -> int:
    with repository.staging() as staging:
        version = staging / "version"
        version.mkdir()
        (version / "saved_model.pb").write_text(contents)
        return repository.push(version, Manifest(files=checksum_files(version), **known))  # type: ignore[arg-type]


@pytest.fixture
def three(repository: ModelRepository) -> tuple[int, int, int]:
    first = push_model(repository, "first")
    second = push_model(repository, "second", metrics={"accuracy": 0.91}, run_id="20261122-101500")
    return (
        first,
        second,
        push_model(repository, "third", metrics={"accuracy": 0.934}, run_id="20261122-114500"),
    )


def test_models_lists_run_accuracy_and_state_of_each_version(
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
    assert "rolled back" in rows[0]
    assert json.loads(catsdogs("models", "--json")[1])[0]["state"] == "withdrawn"
    assert "served" in rows[1]


def test_texts_of_the_model_repository_are_printable(
    catsdogs: Command, repository: ModelRepository, served: Path
) -> None:
    version = push_model(repository, "first", run_id="[/x]\x1b[2J\nserved")
    manifest_path = served / str(version) / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    manifest["files"]["\x9b1A[/x]"] = manifest["files"]["saved_model.pb"]
    manifest_path.write_text(json.dumps(manifest))
    status, output, _ = catsdogs("models")
    assert status == 0
    _, *rows = output.splitlines()
    assert len(rows) == 1
    assert r"[/x]\x1b[2J\nserved" in rows[0]
    assert r"damaged: \x9b1A[/x]" in rows[0]


def test_models_as_json_has_the_same_content(catsdogs: Command, three: tuple[int, int, int]) -> None:
    status, output, _ = catsdogs("models", "--json")
    assert status == 0
    rows = json.loads(output)
    assert [row["version"] for row in rows] == list(reversed(three))
    assert [row["state"] for row in rows] == ["served", "stable", "kept"]
    assert [row["labels"] for row in rows] == [["canary"], ["stable"], []]
    assert rows[0]["accuracy"] == 0.934
    assert rows[0]["damage"] is None
    assert rows[2]["run_id"] is None


def test_an_empty_repository_names_the_command_that_pushes(catsdogs: Command, served: Path) -> None:
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


def test_rollback_prints_both_versions_and_the_command_that_undoes_it(
    catsdogs: Command, repository: ModelRepository, served: Path, three: tuple[int, int, int]
) -> None:
    _, second, third = three
    status, output, _ = catsdogs("rollback", "--reason", "too many dogs")
    assert status == 0
    assert {str(second), str(third)} <= set(re.findall(r"\d+", output.splitlines()[0]))
    undo = re.search(rf"catsdogs (rollback {third} --set \S+)$", output, re.MULTILINE)
    assert undo is not None
    assert repository.versions().served == second
    assert repository.history()[-1].reason == "too many dogs"

    status, output, _ = catsdogs("rollback", second)
    assert status == 0
    assert str(second) in output
    assert str(third) not in output
    assert catsdogs(*undo[1].split())[0] == 0
    assert repository.versions().served == third


def test_rollback_to_a_missing_version_names_the_available_ones(
    catsdogs: Command, served: Path, three: tuple[int, int, int]
) -> None:
    status, _, error = catsdogs("rollback", 12)
    assert status == 2
    assert all(str(named) in error for named in (12, served, *three))
    assert catsdogs("rollback", "yesterday")[0] == 2
    status, _, error = catsdogs("rollback", 2**63)
    assert status == 2
    assert str(2**63) in error


def test_rollback_suggests_the_rolled_back_version_if_no_other_is_left(
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


def test_an_invalid_manifest_is_shown_as_damage(
    catsdogs: Command, served: Path, three: tuple[int, int, int]
) -> None:
    metrics = '{"files": {"saved_model.pb": {"size": 5, "sha256": ""}}, "metrics": {"accuracy": "[/]"}}'
    (served / str(three[0]) / "manifest.json").write_text(metrics)
    status, output, error = catsdogs("models")
    assert (status, error) == (0, "")
    assert re.search(r" kept, .*\bmanifest\.json\b", output)
    assert catsdogs("models", "--json")[0] == 0


def test_names_that_look_like_markup_are_printed_literally(
    catsdogs: Command, repository: ModelRepository, served: Path
) -> None:
    number = push_model(repository, "first", run_id="[/]")
    manifest = served / str(number) / "manifest.json"
    document = json.loads(manifest.read_text())
    document["files"]["[/red]"] = {"size": 1, "sha256": ""}
    manifest.write_text(json.dumps(document))
    status, output, _ = catsdogs("models")
    assert status == 0
    assert re.search(r" \[/\] +served, .*\[/red\]", output)


def test_rollback_refuses_a_damaged_version(
    catsdogs: Command, served: Path, three: tuple[int, int, int]
) -> None:
    (served / str(three[1]) / "saved_model.pb").unlink()
    status, _, error = catsdogs("rollback")
    assert status == 1
    assert str(three[1]) in error
    assert "saved_model.pb" in error


def test_keep_versions_below_the_loaded_versions_is_a_settings_error(catsdogs: Command) -> None:
    status, _, error = catsdogs("models", "--set", "serving.keep_versions=2")
    assert status == 2
    assert "serving.keep_versions" in error
    assert "3" in error


def test_a_repository_that_cannot_be_locked_is_an_error_that_names_it(
    catsdogs: Command, served: Path
) -> None:
    (served / "1").mkdir(parents=True)
    (served / "2").mkdir()
    (served / "1" / "saved_model.pb").write_text("graph")
    (served / ".lock").mkdir()
    status, _, error = catsdogs("rollback")
    assert status == 1
    assert str(served) in error
    assert "Traceback" not in error


def test_models_and_rollback_start_fast(served: Path) -> None:
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
