"""Behaviour specific to a folder: renames, a lock, symbolic links, and files of other programs."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from serving.errors import ServingError
from serving.repository import folder as folders
from serving.repository.model_repository import ModelRepository
from serving.repository.versions import ModelVersions
from tests.serving.repository.conftest import StoredFiles

Push = Callable[[str], int]


@pytest.fixture
def address(folder: Path) -> str:
    return str(folder)


def test_all_files_of_a_version_are_synced_before_it_is_renamed(
    push: Push, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def record_sync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def record_rename(path: Path, target: Path) -> Path:
        synced.append(f"named {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", record_sync)
    monkeypatch.setattr(Path, "rename", record_rename)
    number = push("first")

    named = synced.index(f"named {number}")
    files = {"saved_model.pb", "variables.index", "variables", "version", "manifest.json"}
    assert files <= set(synced[:named])
    assert synced[named + 1] == folder.name


def test_a_version_folder_that_appears_during_a_push_is_not_overwritten(
    push: Push, repository: ModelRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    created: list[Path] = []

    def create_target_then_rename(path: Path, target: Path) -> Path:
        if target.name.isdecimal() and len(created) < 2:
            created.append(target)
            if len(created) == 1:
                target.mkdir()
                (target / "saved_model.pb").write_text("of another")
            else:
                target.write_text("a file")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", create_target_then_rename)
    number = push("first")

    assert (created[0] / "saved_model.pb").read_text() == "of another"
    assert created[1].read_text() == "a file"
    assert number == int(created[0].name) + 2
    written = repository.manifest(number)
    assert written is not None
    assert written.version == number


def test_a_rollback_renames_versions_and_changes_the_served_version_once(
    push: Push, repository: ModelRepository, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    rename = Path.rename
    served = []

    def watch(path: Path, target: Path) -> Path:
        renamed = rename(path, target)
        served.append(repository.versions().served)
        return renamed

    monkeypatch.setattr(Path, "rename", watch)
    repository.roll_back(first)
    assert served == [third, third, first]  # models.config, the second version, the third
    assert (folder / f"withdrawn-{third}" / "variables" / "variables.index").read_text() == "third"
    served.clear()
    repository.roll_back(second)
    assert served == [second, second]


def test_changed_contents_of_the_same_size_are_damage(
    push: Push, repository: ModelRepository, stored: StoredFiles
) -> None:
    number = push("first")
    stored.write(f"{number}/saved_model.pb", "Graph")
    assert "saved_model.pb" in (repository.damage(number) or "")


def test_removing_a_version_that_is_a_symbolic_link_keeps_the_target(
    push: Push, repository: ModelRepository, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "saved_model.pb").write_text("graph")
    folder.mkdir(parents=True)
    (folder / "1").symlink_to(tmp_path / "elsewhere")
    (folder / ".removing-2-by-an-earlier-release").symlink_to(tmp_path / "elsewhere")
    numbers = [push(f"model {index}") for index in range(3)]
    assert repository.versions() == ModelVersions(tuple(numbers))
    assert not list(folder.glob(".removing-*"))
    assert (tmp_path / "elsewhere" / "saved_model.pb").exists()


def test_a_rollback_fails_without_changes_if_the_new_name_exists(
    push: Push, repository: ModelRepository, folder: Path, stored: StoredFiles
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    stored.write(f"withdrawn-{third}/saved_model.pb", "a copy")
    before = stored.labels()
    with pytest.raises(ServingError, match=rf"{folder}/withdrawn-{third}\b"):
        repository.roll_back(first)
    assert repository.versions() == ModelVersions((first, second, third))
    assert stored.labels() == before


def test_a_push_fails_if_the_folder_stays_locked(
    push: Push, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("first")
    monkeypatch.setattr(folders, "_LOCK_TIMEOUT", 0.2)
    with (folder / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ServingError, match=str(folder)):
            push("second")
    push("second")


_STAGING_SCRIPT = """
import sys
from serving.repository.model_repository import open_repository
from serving.repository.storage import PushConfig
with open_repository(sys.argv[1], PushConfig("catsdogs", "", 3)).staging() as staging:
    (staging / "saved_model.pb").write_text("half")
    print("staged", flush=True)
    sys.stdin.read()
"""


def test_stale_files_of_a_killed_push_are_removed_and_those_of_a_running_one_stay(
    push: Push, folder: Path
) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _STAGING_SCRIPT, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "staged\n"
    [staged] = folder.glob(".pushing-*")
    push("first")
    assert staged.is_dir()
    other.kill()
    other.communicate()
    assert staged.is_dir()
    push("second")
    assert not staged.exists()


@pytest.mark.parametrize("owner", [b"another-pod", b"\xff\xfe", None])  # None: written by an earlier release
@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_staged_files_of_another_machine_stay_for_a_day(
    push: Push, folder: Path, hours: int, stays: bool, owner: bytes | None
) -> None:
    left = folder / ".pushing-elsewhere"
    (left / "1700000000").mkdir(parents=True)
    if owner is not None:
        (left / ".owner").write_bytes(owner)
    then = time.time() - hours * 3600
    os.utime(left, (then, then))
    push("first")
    assert left.exists() == stays
