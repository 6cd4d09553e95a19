from __future__ import annotations

import pytest

from serving.errors import UsageError
from serving.publication.stock import Stock


def test_numbers_only_go_up_whatever_the_clock_says() -> None:
    assert Stock().next_number(1_700_000_000.9) == 1_700_000_000
    assert Stock((5,), (7,)).next_number(6.0) == 8
    assert Stock((5,), (7,)).next_number(100.0) == 100
    assert Stock((1_800_000_000,)).next_number(1_700_000_000.0) == 1_800_000_001
    assert Stock((2**63 - 2,)).next_number(5.0) == 2**63 - 1


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
    stock = Stock(live, withdrawn)
    assert (stock.served, stock.stable) == (served, stable)


@pytest.mark.parametrize(
    ("before", "target", "after"),
    [
        (Stock((1, 2, 3)), 2, Stock((1, 2), (3,))),
        (Stock((1, 2, 3, 4)), 1, Stock((1,), (2, 3, 4))),
        (Stock((1, 2), (3,)), 3, Stock((1, 2, 3))),
        (Stock((1, 4), (2, 3)), 2, Stock((1, 2), (3, 4))),
    ],
)
def test_a_rollback_withdraws_what_is_newer_and_brings_back_what_was_withdrawn(
    before: Stock, target: int, after: Stock
) -> None:
    assert before.rolled_back(target) == after


@pytest.mark.parametrize(
    ("stock", "keep", "gone"),
    [
        (Stock((1, 2, 3)), 3, []),
        (Stock((1, 2, 3, 4)), 3, [1]),
        (Stock((1, 2, 3, 4)), 1, [1]),  # never what a server may have loaded
        (Stock((1, 2, 5), (3, 4)), 4, [3]),
        (Stock((1, 2, 5), (3, 4)), 3, [3]),  # what was just taken off stays
        (Stock((2, 5), (1, 3, 4)), 3, [1, 3]),
        (Stock((2, 5), (1, 3, 4)), 1, [1, 3]),
        (Stock((1, 2, 3, 6), (4, 5)), 3, [1, 4]),
    ],
)
def test_surplus_goes_the_oldest_first_and_withdrawn_versions_before_live_ones(
    stock: Stock, keep: int, gone: list[int]
) -> None:
    assert stock.surplus(keep) == gone


@pytest.mark.parametrize(
    ("stock", "wanted", "complaint"),
    [
        (Stock(), None, r"There are no versions in /m yet: catsdogs run pushes the first\."),
        (Stock((7,)), None, r"There is no version before 7 in /m to roll back to\."),
        (Stock((7,), (8,)), None, r"version 8 was rolled back, and catsdogs rollback 8 brings it back\."),
        (Stock((), (8,)), None, r"No version in /m is served; version 8 was rolled back, and catsdogs rollb"),
        (Stock((7, 8), (9,)), 10, r"There is no version 10 in /m; there are 7, 8, 9\."),
        (Stock(tuple(range(1, 13))), 40, r"there are 3, 4, 5, .*, 11, 12 and 2 more\."),
    ],
)
def test_what_cannot_be_rolled_back_to_is_told(stock: Stock, wanted: int | None, complaint: str) -> None:
    with pytest.raises(UsageError, match=complaint):
        stock.target(wanted, "/m")


def test_a_rollback_goes_to_the_one_before_unless_told_otherwise() -> None:
    assert Stock((1, 2, 3), (4,)).target(None, "/m") == 2
    assert Stock((1, 2, 3), (4,)).target(4, "/m") == 4
