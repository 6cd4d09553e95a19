from __future__ import annotations

import numpy as np
import pytest

from serving.local.grisu2 import digits


@pytest.mark.parametrize(
    ("value", "expected"),  # as RapidJSON 1.1.0 prints them
    [
        (1.0, ("1", 0)),
        (0.1, ("1", -1)),
        (100.0, ("1", 2)),
        (5e-324, ("5", -324)),
        (1.7976931348623157e308, ("17976931348623157", 292)),
        (2.0**64, ("18446744073709553", 3)),  # fewer would do, and nearer ones
        (3.0000000000000004, ("30000000000000006", -16)),
        (1e23, ("9999999999999999", 7)),
    ],
)
def test_digits(value: float, expected: tuple[str, int]) -> None:
    assert digits(value) == expected


def test_digits_give_the_number_back() -> None:
    bits = np.random.default_rng(1).integers(1, 0x7FF0 << 48, 5_000, np.uint64)
    for value in bits.view(np.float64).tolist():
        text, exponent = digits(value)
        assert float(f"{text}e{exponent}") == value
