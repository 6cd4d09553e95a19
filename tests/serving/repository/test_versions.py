from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import UsageError
from serving.repository.versions import ModelVersions, list_versions, newest_version


def test_versions_are_the_numbered_folders_in_numeric_order(tmp_path: Path) -> None:
    for name in ("9", "10", "1700000000", "tmp", "12.part", "-3", "007", str(2**63)):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()  # a file is not a version
    assert list_versions(tmp_path) == [9, 10, 1700000000]
    assert newest_version(tmp_path) == tmp_path / "1700000000"


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_folder_that_is_empty_or_missing_has_no_versions(tmp_path: Path, folder: str) -> None:
    assert list_versions(tmp_path / folder) == []
    assert newest_version(tmp_path / folder) is None


@pytest.mark.parametrize(
    ("live", "rolled_back", "reserved", "now", "number"),
    [
        ((), (), (), 1_700_000_000.9, 1_700_000_000),
        ((5,), (7,), (), 6.0, 8),
        ((5,), (7,), (9,), 6.0, 10),
        ((5,), (7,), (), 100.0, 100),
        ((1_800_000_000,), (), (), 1_700_000_000.0, 1_800_000_001),
        ((2**63 - 2,), (), (), 5.0, 2**63 - 1),
    ],
)
def test_version_numbers_increase_even_if_the_clock_is_wrong(
    live: tuple[int, ...], rolled_back: tuple[int, ...], reserved: tuple[int, ...], now: float, number: int
) -> None:
    assert ModelVersions(live, rolled_back, reserved).next_number(now) == number


@pytest.mark.parametrize(
    ("live", "rolled_back", "served", "stable"),
    [
        ((), (), None, None),
        ((1,), (), 1, 1),
        ((1, 2, 3), (), 3, 2),
        ((1, 2), (3,), 2, 2),  # after a rollback, `stable` does not move
        ((1, 2, 4), (3,), 4, 2),
        ((), (3,), None, None),
    ],
)
def test_the_newest_version_is_served_and_the_one_before_it_is_stable(
    live: tuple[int, ...], rolled_back: tuple[int, ...], served: int | None, stable: int | None
) -> None:
    versions = ModelVersions(live, rolled_back)
    assert (versions.served, versions.stable) == (served, stable)


@pytest.mark.parametrize(
    ("versions", "keep", "removable"),
    [
        (ModelVersions((1, 2, 3)), 3, []),
        (ModelVersions((1, 2, 3, 4)), 3, [1]),
        (ModelVersions((1, 2, 3, 4)), 1, [1]),  # never a version that a server may have loaded
        (ModelVersions((1, 2, 5), (3, 4)), 4, [3]),
        (ModelVersions((1, 2, 5), (3, 4)), 3, [3]),  # the newest rolled-back version stays
        (ModelVersions((2, 5), (1, 3, 4)), 3, [1, 3]),
        (ModelVersions((2, 5), (1, 3, 4)), 1, [1, 3]),
        (ModelVersions((1, 2, 3, 6), (4, 5)), 3, [1, 4]),
    ],
)
def test_rolled_back_versions_are_removed_before_live_ones_and_the_oldest_first(
    versions: ModelVersions, keep: int, removable: list[int]
) -> None:
    assert versions.removable(keep) == removable


@pytest.mark.parametrize(
    ("versions", "wanted", "pattern"),
    [
        (ModelVersions(), None, "catsdogs run"),
        (ModelVersions((7,)), None, r"\b7\b"),
        (ModelVersions((7,), (8,)), None, "catsdogs rollback 8"),
        (ModelVersions((), (8,)), None, "catsdogs rollback 8"),
        (ModelVersions((7, 8), (9,)), 10, r"\b10\b.*\b7, 8, 9\b"),
        (ModelVersions(tuple(range(1, 13))), 40, r"\b40\b.*\b3, 4, 5, .*, 11, 12 and 2\b"),
    ],
)
def test_an_impossible_rollback_names_the_versions_that_are_possible(
    versions: ModelVersions, wanted: int | None, pattern: str
) -> None:
    with pytest.raises(UsageError, match=pattern) as error:
        versions.rollback_target(wanted, "/m")
    assert "/m" in str(error.value)


def test_a_rollback_without_a_version_targets_the_one_before_the_served_one() -> None:
    assert ModelVersions((1, 2, 3), (4,)).rollback_target(None, "/m") == 2
    assert ModelVersions((1, 2, 3), (4,)).rollback_target(4, "/m") == 4
