from __future__ import annotations

from pathlib import Path

import pytest

from serving.local.model_versions import (
    AVAILABLE,
    END,
    LOADING,
    START,
    UNLOADING,
    Version,
    found,
    stamp,
    to_unload,
)


def version(number: int, state: int, aspired: bool = True, load_at: float = 0.0) -> Version:
    return Version(number, Path(), None, aspired=aspired, state=state, load_at=load_at)


@pytest.mark.parametrize(
    ("versions", "unloaded"),
    [
        ([], []),
        ([version(1, AVAILABLE)], []),
        # nothing is wanted any more: all go
        ([version(1, AVAILABLE, aspired=False), version(2, AVAILABLE, aspired=False)], [1, 2]),
        # another one is wanted and not ready: the last one stays
        ([version(1, AVAILABLE, aspired=False), version(2, LOADING)], []),
        ([version(1, AVAILABLE, aspired=False), version(2, END)], []),
        # of two that are not wanted any more the newer one stays
        ([version(1, AVAILABLE, False), version(2, AVAILABLE, False), version(3, START)], [1]),
        # another one is ready
        ([version(1, AVAILABLE, aspired=False), version(2, AVAILABLE)], [1]),
        ([version(3, AVAILABLE, aspired=False), version(2, AVAILABLE)], [3]),
        ([version(1, UNLOADING, aspired=False), version(2, AVAILABLE)], []),
    ],
)
def test_the_last_version_stays_while_another_is_wanted(versions: list[Version], unloaded: list[int]) -> None:
    assert [one.number for one in to_unload(versions)] == unloaded


def test_versions_are_entries_with_a_number_for_a_name(tmp_path: Path) -> None:
    for name in ("1", "010", "x", "-3", "4.5", ".5", "５", str(2**63), str(2**63 - 1)):
        (tmp_path / name).mkdir()
    (tmp_path / "6").touch()
    assert found(tmp_path) == {
        1: tmp_path / "1",
        10: tmp_path / "010",
        6: tmp_path / "6",
        2**63 - 1: tmp_path / str(2**63 - 1),
    }


def test_of_two_names_for_a_number_the_one_without_zeros_counts(tmp_path: Path) -> None:
    for name in ("7", "007"):
        (tmp_path / name).mkdir()
    assert found(tmp_path) == {7: tmp_path / "7"}


def test_a_folder_that_is_not_there_is_not_an_empty_one(tmp_path: Path) -> None:
    assert found(tmp_path) == {}
    assert found(tmp_path / "nope") is None


def test_other_files_in_a_versions_place_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    assert stamp(folder) == stamp(folder)
    seen = [stamp(folder)]
    folder.mkdir()
    seen.append(stamp(folder))
    (folder / "saved_model.pb").write_text("half")
    seen.append(stamp(folder))
    (folder / "saved_model.pb").write_text("whole")
    seen.append(stamp(folder))
    assert all(one != other for index, one in enumerate(seen) for other in seen[:index])
