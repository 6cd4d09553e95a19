"""Publishes into real folders, and rolls back in them."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from serving.errors import ServingError, UsageError
from serving.publication import lock
from serving.publication.folder import FolderPlace
from serving.publication.manifest import Manifest, files_in
from serving.publication.place import RolledBack, Terms
from serving.publication.stock import Stock

Push = Callable[[str], int]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "serving_model" / "catsdogs"


@pytest.fixture
def place(folder: Path) -> FolderPlace:
    return FolderPlace(folder, Terms("catsdogs", "/models/catsdogs", keep_versions=3))


def publish(place: FolderPlace, contents: str) -> int:
    with place.staging() as staging:
        version = staging / "version"
        (version / "variables").mkdir(parents=True)
        (version / "saved_model.pb").write_text("graph")
        (version / "variables" / "variables.index").write_text(contents)
        return place.publish(version, Manifest(files=files_in(version), model_name="catsdogs"))


@pytest.fixture
def push(place: FolderPlace) -> Push:
    return lambda contents: publish(place, contents)


def labels(folder: Path) -> dict[str, int]:
    document = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((folder / "models.config").read_text(), document)
    return dict(document.model_config_list.config[0].version_labels)


def contents(folder: Path, number: int | str) -> str:
    return (folder / str(number) / "variables" / "variables.index").read_text()


def test_a_push_is_whole_described_and_noted(push: Push, place: FolderPlace, folder: Path) -> None:
    number = push("first")
    assert abs(number - time.time()) < 60
    assert place.stock() == Stock((number,))
    written = place.manifest(number)
    assert written is not None
    assert written.version == number
    assert place.damage(number) is None
    assert place.size(number) > len("graph") + len("first")
    assert labels(folder) == {"stable": number, "canary": number}
    [entry] = place.history()
    assert (entry.action, entry.before, entry.after) == ("push", None, number)
    assert not list(folder.glob(".pushing-*"))


def test_all_of_a_version_is_on_the_disk_before_it_has_its_name(
    push: Push, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def note_sync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    def note_rename(path: Path, target: Path) -> Path:
        synced.append(f"named {target.name}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", note_sync)
    monkeypatch.setattr(Path, "rename", note_rename)
    number = push("first")

    named = synced.index(f"named {number}")
    whole = {"saved_model.pb", "variables.index", "variables", "version", "manifest.json"}
    assert whole <= set(synced[:named])
    assert synced[named + 1] == folder.name


def test_versions_go_up_even_within_a_second_or_after_a_clock_was_wrong(push: Push, folder: Path) -> None:
    future = int(time.time()) + 10_000
    (folder / str(future)).mkdir(parents=True)
    assert [push("second"), push("third")] == [future + 1, future + 2]


def test_a_version_above_all_withdrawn_ones_follows_a_rollback(push: Push, place: FolderPlace) -> None:
    first, second = push("first"), push("second")
    place.roll_back(None)
    third = push("third")
    assert third > second
    assert place.stock() == Stock((first, third), (second,))


def test_a_number_that_somebody_took_at_the_last_moment_is_not_overwritten(
    push: Push, place: FolderPlace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    taken: list[Path] = []

    def be_late(path: Path, target: Path) -> Path:
        if target.name.isdecimal() and len(taken) < 2:
            taken.append(target)
            if len(taken) == 1:
                target.mkdir()
                (target / "saved_model.pb").write_text("of another")
            else:
                target.write_text("a file")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", be_late)
    number = push("first")

    assert (taken[0] / "saved_model.pb").read_text() == "of another"
    assert taken[1].read_text() == "a file"
    assert number == int(taken[0].name) + 2
    written = place.manifest(number)
    assert written is not None
    assert written.version == number


def test_the_served_model_is_published_once_unless_it_is_damaged(
    push: Push, place: FolderPlace, folder: Path
) -> None:
    first = push("first")
    assert push("first") == first
    (folder / str(first) / "saved_model.pb").write_text("broken")
    assert place.damage(first) == "saved_model.pb has 6 bytes and was pushed with 5"
    again = push("first")
    assert again > first
    assert place.damage(again) is None


def test_a_rollback_renames_and_deletes_nothing_and_is_undone_by_another(
    push: Push, place: FolderPlace, folder: Path
) -> None:
    first, second, third = push("first"), push("second"), push("third")

    assert place.roll_back(first, "too many dogs") == (third, first)
    assert place.stock() == Stock((first,), (second, third))
    assert contents(folder, f"withdrawn-{third}") == "third"
    assert labels(folder) == {"stable": first, "canary": first}
    assert place.damage(third) is None
    entry = place.history()[-1]
    assert (entry.action, entry.before, entry.after) == ("rollback", third, first)
    assert (entry.reason, bool(entry.user)) == ("too many dogs", True)

    assert place.roll_back(third) == (first, third)
    assert place.stock() == Stock((first, third), (second,))
    assert contents(folder, third) == "third"
    assert labels(folder) == {"stable": first, "canary": third}

    assert place.roll_back(third) == (third, third)
    assert len(place.history()) == 5, "what changes nothing is not noted"


def test_what_is_served_changes_once_in_a_rollback(
    push: Push, place: FolderPlace, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    rename = Path.rename
    served = []

    def watch(path: Path, target: Path) -> Path:
        renamed = rename(path, target)
        served.append(place.stock().served)
        return renamed

    monkeypatch.setattr(Path, "rename", watch)
    place.roll_back(first)
    assert served == [third, third, first]  # models.config, the second version, the third
    served.clear()
    place.roll_back(second)
    assert served == [second, second]


def test_a_damaged_version_is_not_rolled_back_to(push: Push, place: FolderPlace, folder: Path) -> None:
    first, second = push("first"), push("second")
    (folder / str(first) / "saved_model.pb").unlink()
    with pytest.raises(ServingError, match=r"is damaged \(saved_model.pb is missing\), and nothing was"):
        place.roll_back(None)
    assert place.stock() == Stock((first, second))


def test_a_rollback_where_nothing_is_makes_nothing(place: FolderPlace, folder: Path) -> None:
    with pytest.raises(UsageError, match="There are no versions in"):
        place.roll_back(None)
    assert not folder.exists()


def test_old_versions_go_and_what_is_not_ours_stays(push: Push, place: FolderPlace, folder: Path) -> None:
    (folder / "backup").mkdir(parents=True)
    (folder / "notes.txt").write_text("mine")
    (folder / "007").mkdir()
    numbers = [push(f"model {index}") for index in range(5)]
    assert place.stock() == Stock(tuple(numbers[-3:]))
    assert {"backup", "notes.txt", "007"} < {entry.name for entry in folder.iterdir()}
    assert not list(folder.glob(".removing-*"))
    assert [entry.removed for entry in place.history() if entry.action == "remove"] == [
        (numbers[0],),
        (numbers[1],),
    ]


def test_what_was_just_taken_off_stays_however_few_versions_are_kept(push: Push, place: FolderPlace) -> None:
    live = [push(f"model {index}") for index in range(3)]
    taken_off = push("taken off")
    assert place.roll_back(None) == (taken_off, live[-1])
    live += [push("fourth"), push("fifth")]
    assert place.stock() == Stock(tuple(live[-3:]), (taken_off,))
    with pytest.raises(RolledBack):
        push("taken off")


def test_a_version_that_is_a_link_goes_and_what_it_leads_to_stays(
    push: Push, place: FolderPlace, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "saved_model.pb").write_text("graph")
    folder.mkdir(parents=True)
    (folder / "1").symlink_to(tmp_path / "elsewhere")
    (folder / ".removing-2-by-an-earlier-release").symlink_to(tmp_path / "elsewhere")
    numbers = [push(f"model {index}") for index in range(3)]
    assert place.stock() == Stock(tuple(numbers))
    assert not list(folder.glob(".removing-*"))
    assert (tmp_path / "elsewhere" / "saved_model.pb").exists()


def test_a_copy_in_the_way_of_a_rollback_is_told_before_anything_is_changed(
    push: Push, place: FolderPlace, folder: Path
) -> None:
    first, second, third = push("first"), push("second"), push("third")
    (folder / f"withdrawn-{third}").mkdir()
    (folder / f"withdrawn-{third}" / "saved_model.pb").write_text("a copy")
    before = labels(folder)
    with pytest.raises(ServingError, match=rf"{third} cannot be withdrawn, as .*/withdrawn-{third} is there"):
        place.roll_back(first)
    assert place.stock() == Stock((first, second, third))
    assert labels(folder) == before


def test_numbers_that_are_none_to_a_server_are_no_versions(
    push: Push, place: FolderPlace, folder: Path
) -> None:
    (folder / str(2**63)).mkdir(parents=True)
    first = push("first")
    assert place.stock() == Stock((first,))
    with pytest.raises(UsageError, match=f"There is no version {2**63} in"):
        place.roll_back(2**63)
    (folder / str(2**63 - 1)).mkdir()
    with pytest.raises(ServingError, match=f"Version {2**63 - 1} is there, the highest number"):
        push("second")
    assert not list(folder.glob(".pushing-*"))


def test_a_model_that_was_taken_off_is_not_published_again_while_it_is_there(
    push: Push, place: FolderPlace
) -> None:
    first, second = push("first"), push("second")
    place.roll_back(None)
    with pytest.raises(RolledBack) as refused:
        push("second")
    assert refused.value.version == second
    assert place.stock() == Stock((first,), (second,))
    assert push("first") == first


def test_versions_of_a_release_without_manifests_are_listed_compared_and_rolled_back_to(
    push: Push, place: FolderPlace, folder: Path
) -> None:
    old = folder / "1700000000"
    (old / "variables").mkdir(parents=True)
    (old / "saved_model.pb").write_text("graph")
    (old / "variables" / "variables.index").write_text("old")
    assert place.manifest(1700000000) is None
    assert place.damage(1700000000) is None
    assert push("old") == 1700000000, "it is the same model"
    new = push("new")
    assert place.roll_back(None) == (new, 1700000000)


def test_a_manifest_that_cannot_be_read_is_damage_and_no_obstacle(
    push: Push, place: FolderPlace, folder: Path
) -> None:
    first = push("first")
    (folder / str(first) / "manifest.json").write_text("{")
    assert place.damage(first) == "manifest.json cannot be read"
    second = push("first")
    assert second > first
    (folder / str(second) / "manifest.json").unlink()
    (folder / str(second) / "manifest.json").mkdir()
    assert place.damage(second) == "manifest.json cannot be read"
    assert push("first") > second


def test_pushes_and_rollbacks_at_the_same_time_come_one_after_the_other(
    place: FolderPlace, folder: Path
) -> None:
    numbers: list[int] = []
    publish(place, "a")
    publish(place, "b")

    def run(index: int) -> None:
        if index % 3:
            numbers.append(publish(place, f"model {index}"))
        else:
            with contextlib.suppress(UsageError):  # there may be no earlier one left
                place.roll_back(None)

    threads = [threading.Thread(target=run, args=(index,)) for index in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(numbers)) == len(numbers) == 6
    stock = place.stock()
    assert labels(folder) == {"stable": stock.stable, "canary": stock.served}
    entries = [entry for entry in place.history() if entry.action != "remove"]
    assert all(one.after == other.before for one, other in itertools.pairwise(entries))
    assert [entry.after for entry in entries][-1] == stock.served


def test_who_holds_the_folder_for_long_is_waited_for_and_then_told_of(
    push: Push, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push("first")
    monkeypatch.setattr(lock, "_PATIENCE", 0.2)
    with (folder / ".lock").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ServingError, match="Another push or rollback has been at work in"):
            push("second")
    push("second")


_STAGES = """
import pathlib, sys
from serving.publication.folder import FolderPlace
from serving.publication.place import RolledBack, Terms
with FolderPlace(pathlib.Path(sys.argv[1]), Terms("catsdogs", "", 3)).staging() as staging:
    (staging / "saved_model.pb").write_text("half")
    print("staged", flush=True)
    sys.stdin.read()
"""


def test_what_a_live_push_lays_down_stays_and_what_a_killed_one_left_goes(push: Push, folder: Path) -> None:
    other = subprocess.Popen(
        [sys.executable, "-c", _STAGES, str(folder)],
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


@pytest.mark.parametrize("owner", [b"another-pod", b"\xff\xfe"])
@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_what_another_machine_has_begun_stays_for_a_day(
    push: Push, folder: Path, hours: int, stays: bool, owner: bytes
) -> None:
    left = folder / ".pushing-elsewhere"
    left.mkdir(parents=True)
    (left / ".owner").write_bytes(owner)
    then = time.time() - hours * 3600
    os.utime(left, (then, then))
    push("first")
    assert left.exists() == stays


def test_a_line_of_history_that_was_cut_short_costs_no_other(
    push: Push, place: FolderPlace, folder: Path
) -> None:
    push("first")
    with (folder / "history.jsonl").open("a") as file:
        file.write('{"action": "ro')
    push("second")
    assert [entry.action for entry in place.history()] == ["push", "push"]
