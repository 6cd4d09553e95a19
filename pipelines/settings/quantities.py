"""Parses Kubernetes quantities: `500m` or `2` cores, `16Gi` of memory."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import BeforeValidator

_NUMBER = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
_CORES = re.compile(rf"({_NUMBER})(m?)")
_MEMORY = re.compile(rf"({_NUMBER})([eE][+-]?[0-9]{{1,2}}|[kMGTPE]|[KMGTPE]i)?")
_DECIMAL = {"m": -3, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BINARY = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60}

_MIN_MEMORY = 2**22  # bytes; no container starts with less


def parse_quantity(text: str) -> Decimal:
    """Returns the value of a valid quantity: cores, or bytes."""
    matched = _CORES.fullmatch(text) or _MEMORY.fullmatch(text)
    assert matched is not None, text
    number, suffix = Decimal(matched[1]), matched[2] or ""
    if suffix in _BINARY:
        return number * 2 ** _BINARY[suffix]
    if suffix in _DECIMAL:
        return number.scaleb(_DECIMAL[suffix])
    return number.scaleb(int(suffix[1:])) if suffix else number


def _cores(value: Any) -> str:
    text = _text(value)
    if not _CORES.fullmatch(text):
        raise ValueError(f"{text!r} is not a number of cores: write 500m, 0.5 or 2")
    _check_positive(text)
    if parse_quantity(text) * 1000 % 1:
        raise ValueError(
            f"{text} is more precise than Kubernetes allows: write whole thousandths, such as 500m"
        )
    return text


def _memory(value: Any) -> str:
    text = _text(value)
    if not _MEMORY.fullmatch(text):
        raise ValueError(f"{text!r} is not an amount of memory: write 512Mi or 16Gi")
    _check_positive(text)
    if parse_quantity(text) < _MIN_MEMORY:
        raise ValueError(
            f"{text} is {parse_quantity(text):f} bytes, too little for a container: write 512Mi or 16Gi"
        )
    return text


def _text(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a quantity: write 500m or 2 for cores, 512Mi or 16Gi for memory")
    return str(value)


def _check_positive(text: str) -> None:
    if parse_quantity(text) <= 0:
        raise ValueError(f"{text} must be above 0")


Cores = Annotated[str, BeforeValidator(_cores)]
Memory = Annotated[str, BeforeValidator(_memory)]
