from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.settings.quantities import Cores, Memory, parse_quantity


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("2", "2"),
        (2, "2"),
        (0.5, "0.5"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("2.", "2"),
        ("500m", "0.5"),
        ("1m", "0.001"),
    ],
)
def test_cores(value: Any, number: str) -> None:
    text = TypeAdapter(Cores).validate_python(value)
    assert text == str(value)
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        ("16G", "16000000000"),
        ("16Gi", "17179869184"),
        ("512Mi", "536870912"),
        ("4Mi", "4194304"),
        ("1.5Gi", "1610612736"),
        (17179869184, "17179869184"),
        ("8e9", "8000000000"),
        ("1E10", "10000000000"),
        ("5000k", "5000000"),
        ("2E", "2000000000000000000"),
        ("1Ei", "1152921504606846976"),
    ],
)
def test_memory(value: Any, number: str) -> None:
    text = TypeAdapter(Memory).validate_python(value)
    assert text == str(value)
    assert parse_quantity(text) == Decimal(number)


NO_CORES: tuple[Any, ...] = (
    *("", "2Gi", "2G", "1k", "1e3", "1u", "500 m", "two", "1.2.3", "0x10", "½", "٢"),
    *("0", "-1", "0.0005", "1.5m", True),
)
NO_MEMORY: tuple[Any, ...] = (
    *("", "500m", "1u", "16GB", "16gi", "16 Gi", "Gi", "1K", "1e", "1e999", "1mi", "½"),
    *("0", "-1Gi", 16, "4095Ki", []),
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [*((Cores, value) for value in NO_CORES), *((Memory, value) for value in NO_MEMORY)],
)
def test_what_is_no_quantity_is_named(kind: Any, value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    assert str(value) in caught.value.errors()[0]["msg"]
