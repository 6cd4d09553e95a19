from __future__ import annotations

from decimal import Decimal

import pytest

from pipelines.kubeflow.quantities import parse


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("2", "2"),
        ("0.5", "0.5"),
        (".5", "0.5"),
        ("2.", "2"),
        ("500m", "0.5"),
        ("1u", "0.000001"),
        ("1k", "1000"),
        ("16G", "16000000000"),
        ("16Gi", "17179869184"),
        ("512Mi", "536870912"),
        ("1.5Ki", "1536"),
        ("1e3", "1000"),
        ("1E3", "1000"),
        ("2E", "2000000000000000000"),
        ("1Ei", "1152921504606846976"),
        ("-1", "-1"),
    ],
)
def test_what_kubernetes_reads(text: str, number: str) -> None:
    assert parse(text) == Decimal(number)


@pytest.mark.parametrize(
    "text", ["", "16GB", "16gi", "16 Gi", "Gi", "1K", "1.2.3", "two", "1e", "0x10", "1mi", "½"]
)
def test_what_kubernetes_does_not_read(text: str) -> None:
    with pytest.raises(
        ValueError, match="is not a quantity that Kubernetes reads: write 500m or 2 for cores"
    ):
        parse(text)
