from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import UsageError
from serving.repository.versions import ModelVersions, newest, versions


def test_versions_are_the_numbered_folders_in_numeric_order(tmp_path: Path) -> None:
    for name in ("9", "10", "1700000000", "tmp", "12.part", "-3", "007", str(2**63)):
        (tmp_path / name).mkdir()
    (tmp_path / "11").touch()  # a file is no version
    assert versions(tmp_path) == [9, 10, 1700000000]
    assert newest(tmp_path) == tmp_path / "1700000000"


@pytest.mark.parametrize("folder", ["", "missing"])
def test_a_folder_that_is_empty_or_missing_has_no_versions(tmp_path: Path, folder: str) -> None:
    assert versions(tmp_path / folder) == []
    assert newest(tmp_path / folder) is None


@pytest.mark.parametrize(
    ("live", "withdrawn", "reserved", "now", "number"),
    [
        ((), (), (), 1_700_000_000.9, 1_700_000_000),
        ((5,), (7,), (), 6.0, 8),
        ((5,), (7,), (9,), 6.0, 10),
        ((5,), (7,), (), 100.0, 100),
        ((1_800_000_000,), (), (), 1_700_000_000.0, 1_800_000_001),
        ((2**63 - 2,), (), (), 5.0, 2**63 - 1),
    ],
)
def test_numbers_only_go_up_whatever_the_clock_says(
    live: tuple[int, ...], withdrawn: tuple[int, ...], reserved: tuple[int, ...], now: float, number: int
) -> None:
    assert ModelVersions(live, withdrawn, reserved).next_number(now) == number


@pytest.mark.parametrize(
    ("live", "withdrawn", "served", "stable"),
    [
        ((), (), None, None),
        ((1,), (), 1, 1),
        ((1, 2, 3), (), 3, 2),
        ((1, 2), (3,), 2, 2),  # rolled back: clients of `stable` do not follow by another step
        ((1, 2, 4), (3,), 4, 2),
        ((), (3,), None, None),
    ],
)
def test_the_newest_is_served_and_the_one_before_it_is_stable(
    live: tuple[int, ...], withdrawn: tuple[int, ...], served: int | None, stable: int | None
) -> None:
    found = ModelVersions(live, withdrawn)
    assert (found.served, found.stable) == (served, stable)


@pytest.mark.parametrize(
    ("found", "keep", "gone"),
    [
        (ModelVersions((1, 2, 3)), 3, []),
        (ModelVersions((1, 2, 3, 4)), 3, [1]),
        (ModelVersions((1, 2, 3, 4)), 1, [1]),  # never what a server may have loaded
        (ModelVersions((1, 2, 5), (3, 4)), 4, [3]),
        (ModelVersions((1, 2, 5), (3, 4)), 3, [3]),  # what was just rolled back stays
        (ModelVersions((2, 5), (1, 3, 4)), 3, [1, 3]),
        (ModelVersions((2, 5), (1, 3, 4)), 1, [1, 3]),
        (ModelVersions((1, 2, 3, 6), (4, 5)), 3, [1, 4]),
    ],
)
def test_surplus_goes_the_oldest_first_and_withdrawn_versions_before_live_ones(
    found: ModelVersions, keep: int, gone: list[int]
) -> None:
    assert found.surplus(keep) == gone


@pytest.mark.parametrize(
    ("found", "wanted", "named"),
    [
        (ModelVersions(), None, "catsdogs run"),
        (ModelVersions((7,)), None, r"\b7\b"),
        (ModelVersions((7,), (8,)), None, "catsdogs rollback 8"),
        (ModelVersions((), (8,)), None, "catsdogs rollback 8"),
        (ModelVersions((7, 8), (9,)), 10, r"\b10\b.*\b7, 8, 9\b"),
        (ModelVersions(tuple(range(1, 13))), 40, r"\b40\b.*\b3, 4, 5, .*, 11, 12 and 2\b"),
    ],
)
def test_what_cannot_be_rolled_back_to_names_what_can(
    found: ModelVersions, wanted: int | None, named: str
) -> None:
    with pytest.raises(UsageError, match=named) as refused:
        found.target(wanted, "/m")
    assert "/m" in str(refused.value)


def test_a_rollback_goes_to_the_one_before_unless_told_otherwise() -> None:
    assert ModelVersions((1, 2, 3), (4,)).target(None, "/m") == 2
    assert ModelVersions((1, 2, 3), (4,)).target(4, "/m") == 4
