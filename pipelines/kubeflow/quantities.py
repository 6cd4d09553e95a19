"""Quantities as Kubernetes writes them: `500m`, `2`, `16Gi`."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator

_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d+|[numkMGTPE]|[KMGTPE]i)?")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}


def parse(text: str) -> Decimal:
    """Returns the number that a quantity stands for: cores, or bytes.

    Raises:
        ValueError: Kubernetes does not read it so.
    """
    matched = _QUANTITY.fullmatch(text)
    if matched is None:
        raise ValueError(
            f"{text!r} is not a quantity that Kubernetes reads: write 500m or 2 for cores, 512Mi or 16Gi for "
            "memory"
        )
    number, suffix = Decimal(matched[1]), matched[2] or ""
    if suffix in _BINARY:
        return number * 2 ** _BINARY[suffix]
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:])) if suffix else number


def _positive(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a quantity: write 500m or 2 for cores, 512Mi or 16Gi for memory")
    text = str(value)
    if parse(text) <= 0:
        raise ValueError(f"{text} must be above 0")
    return text


Quantity = Annotated[str, BeforeValidator(_positive)]
