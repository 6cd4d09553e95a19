from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from pipelines.kubeflow.quantities import Cores, Memory, parse


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
    assert parse(text) == Decimal(number)


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
    assert parse(text) == Decimal(number)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        *(
            (text, f"{text!r} is not a number of cores: write 500m, 0.5 or 2")
            for text in ("", "2Gi", "2G", "1k", "1e3", "1u", "500 m", "two", "1.2.3", "0x10", "½", "²", "٢")
        ),
        ("0", "0 must be above 0"),
        ("-1", "-1 must be above 0"),
        ("0.0005", "0.0005 is finer than Kubernetes counts cores: write whole thousandths"),
        ("1.5m", "1.5m is finer than Kubernetes counts cores"),
        (True, "True is not a quantity"),
    ],
)
def test_what_are_no_cores(value: Any, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Cores).validate_python(value)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        *(
            (text, f"{text!r} is not an amount of memory: write 512Mi or 16Gi")
            for text in ("", "500m", "1u", "16GB", "16gi", "16 Gi", "Gi", "1K", "1e", "1e999", "1mi", "½")
        ),
        ("0", "0 must be above 0"),
        ("-1Gi", "-1Gi must be above 0"),
        (16, "16 is 16 bytes, too little to start with: write 512Mi or 16Gi"),
        ("4095Ki", "4095Ki is 4193280 bytes, too little"),
        ([], "[] is not a quantity: write 500m or 2 for cores, 512Mi or 16Gi for memory"),
    ],
)
def test_what_is_no_memory(value: Any, sentence: str) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(Memory).validate_python(value)
    assert sentence in str(caught.value)
