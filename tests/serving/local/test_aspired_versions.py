from __future__ import annotations

from pathlib import Path

import pytest

from serving.local.aspired_versions import (
    AVAILABLE,
    END,
    LOADING,
    START,
    UNLOADING,
    ServableVersion,
    fingerprint,
    list_versions,
    versions_to_unload,
)


def version(number: int, state: int, aspired: bool = True, load_at: float = 0.0) -> ServableVersion:
    return ServableVersion(number, Path(), None, is_aspired=aspired, state=state, load_at=load_at)


@pytest.mark.parametrize(
    ("versions", "unloaded"),
    [
        ([], []),
        ([version(1, AVAILABLE)], []),
        # no version is aspired: all are unloaded
        ([version(1, AVAILABLE, aspired=False), version(2, AVAILABLE, aspired=False)], [1, 2]),
        # the aspired version is not available: the last one stays
        ([version(1, AVAILABLE, aspired=False), version(2, LOADING)], []),
        ([version(1, AVAILABLE, aspired=False), version(2, END)], []),
        # the newer of two unwanted versions stays
        ([version(1, AVAILABLE, False), version(2, AVAILABLE, False), version(3, START)], [1]),
        # the aspired version is available
        ([version(1, AVAILABLE, aspired=False), version(2, AVAILABLE)], [1]),
        ([version(3, AVAILABLE, aspired=False), version(2, AVAILABLE)], [3]),
        ([version(1, UNLOADING, aspired=False), version(2, AVAILABLE)], []),
    ],
)
def test_keeps_the_last_version_until_an_aspired_one_is_available(
    versions: list[ServableVersion], unloaded: list[int]
) -> None:
    assert [one.number for one in versions_to_unload(versions)] == unloaded


def test_lists_entries_whose_name_is_a_number(tmp_path: Path) -> None:
    for name in ("1", "010", "x", "-3", "4.5", ".5", "５", str(2**63), str(2**63 - 1)):
        (tmp_path / name).mkdir()
    (tmp_path / "6").touch()
    assert list_versions(tmp_path) == {
        1: tmp_path / "1",
        10: tmp_path / "010",
        6: tmp_path / "6",
        2**63 - 1: tmp_path / str(2**63 - 1),
    }


def test_prefers_the_name_without_leading_zeros(tmp_path: Path) -> None:
    for name in ("7", "007"):
        (tmp_path / name).mkdir()
    assert list_versions(tmp_path) == {7: tmp_path / "7"}


def test_distinguishes_a_missing_folder_from_an_empty_one(tmp_path: Path) -> None:
    assert list_versions(tmp_path) == {}
    assert list_versions(tmp_path / "nope") is None


def test_fingerprint_changes_when_files_are_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "1"
    assert fingerprint(folder) == fingerprint(folder)
    seen = [fingerprint(folder)]
    folder.mkdir()
    seen.append(fingerprint(folder))
    (folder / "saved_model.pb").write_text("half")
    seen.append(fingerprint(folder))
    (folder / "saved_model.pb").write_text("whole")
    seen.append(fingerprint(folder))
    assert all(one != other for index, one in enumerate(seen) for other in seen[:index])
