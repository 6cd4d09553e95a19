"""Problems of a server's predictions, and how the report states them."""

from __future__ import annotations

import dataclasses
import math

import pytest

from components.serving_check.report import CheckLimits, ProtocolResult, ServedPrediction, ServingReport

LIMITS = CheckLimits(1e-5, 100, frozenset({"serving_default", "serving_examples"}))
NAMES = ["cats/12.jpg", "dogs/7.jpg", "cats/3.jpg"]
EXPECTED = [ServedPrediction(0.2113, "cat"), ServedPrediction(0.9, "dog"), ServedPrediction(0.4, "cat")]
GOOD = ProtocolResult("REST", list(EXPECTED), [30.0, 10.0, 20.0], LIMITS.signatures)


def wrong(**changes: object) -> list[str]:
    exchange = dataclasses.replace(GOOD, **changes)  # type: ignore[arg-type]
    return ServingReport("pets", LIMITS, "a server", NAMES, EXPECTED, [exchange]).problems


def predicted(first: ServedPrediction | str) -> list[ServedPrediction | str]:
    return [first, *EXPECTED[1:]]


def test_the_same_answers_in_time_are_right() -> None:
    assert ServingReport("pets", LIMITS, "a server", NAMES, EXPECTED, [GOOD]).blessed
    assert wrong() == []
    assert wrong(predictions=predicted(ServedPrediction(0.2113 + 9e-6, "cat"))) == []


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (
            {"predictions": predicted(ServedPrediction(0.7312, "cat"))},
            ["cats/12.jpg", "0.7312", "0.2113", "1 of 3"],
        ),
        (
            {"predictions": predicted(ServedPrediction(0.21133, "cat"))},
            ["0.21133", "0.21130", "serving.check.max_difference"],
        ),
        ({"predictions": predicted(ServedPrediction(math.nan, "cat"))}, ["cats/12.jpg", "nan", "0.2113"]),
        (
            {"predictions": predicted(ServedPrediction(0.2113, "dog"))},
            ["cats/12.jpg", "dog", "cat", "1 of 3"],
        ),
        ({"predictions": predicted("Unknown format.")}, ["cats/12.jpg", "Unknown format.", "1 of 3"]),
        ({"signatures": frozenset({"serving_default"})}, ["serving_default", "serving_examples"]),
        ({"signatures": frozenset()}, ["serving_default", "serving_examples"]),
        ({"milliseconds": [10.0, 100.4, 20.0]}, ["100.4 ms", " 100 ms", "serving.check.max_latency_ms"]),
    ],
)
def test_what_is_wrong_is_one_phrase_with_figures(changes: dict[str, object], named: list[str]) -> None:
    [problem] = wrong(**changes)
    assert [text for text in ["REST", *named] if text not in problem] == []


def test_the_worst_image_is_named_and_everything_that_is_wrong_is_listed() -> None:
    found = wrong(
        predictions=[ServedPrediction(0.3, "cat"), ServedPrediction(0.1, "cat"), "broken"],
        signatures=frozenset({"serving_default"}),
        milliseconds=[900.0] * 3,
    )
    assert len(found) == 5
    assert [text for text in ("dogs/7.jpg", "0.1000", "0.9000", "2 of 3") if text not in found[2]] == []


@pytest.mark.parametrize(
    ("milliseconds", "share", "found"),
    [([3, 1, 2], 50, 2), ([3, 1, 2], 95, 3), (range(1, 101), 95, 95), ([], 95, 0)],
)
def test_latencies_are_ones_that_were_measured(milliseconds: list[float], share: float, found: float) -> None:
    assert dataclasses.replace(GOOD, milliseconds=milliseconds).latency_percentile(share) == found


def test_the_report_holds_what_was_sent_and_what_came_back() -> None:
    off = dataclasses.replace(
        GOOD,
        protocol="gRPC",
        predictions=[*predicted(ServedPrediction(0.3113, "cat"))[:2], "too busy"],
        milliseconds=[5.0] * 3,
    )
    report = ServingReport("pets", LIMITS, "a server", NAMES, EXPECTED, [GOOD, off])
    result = report.to_dict()
    assert result["blessed"] is False
    assert result["protocols"]["REST"]["largest_difference"] == 0
    assert result["protocols"]["REST"]["p50_ms"] == 20
    assert result["protocols"]["gRPC"]["largest_difference"] == pytest.approx(0.1)
    assert result["protocols"]["gRPC"]["answered"] == 2
    assert result["pictures"][0] == {
        "picture": "cats/12.jpg",
        "expected": {"probability": 0.2113, "label": "cat"},
        "REST": {"probability": 0.2113, "label": "cat"},
        "gRPC": {"probability": 0.3113, "label": "cat"},
    }
    assert result["pictures"][2]["gRPC"] == {"error": "too busy"}
    assert result["versions"]["tensorflow"]


@pytest.mark.parametrize(
    "report",
    [
        ServingReport("pets", LIMITS),
        ServingReport(
            "pets", LIMITS, "a server", results=[ProtocolResult("gRPC", [], [], LIMITS.signatures)]
        ),
        ServingReport("pets", LIMITS, "a server", NAMES, EXPECTED, [GOOD], failure="it cannot be loaded"),
        ServingReport(
            "pets", LIMITS, "a server", NAMES, EXPECTED, [dataclasses.replace(GOOD, milliseconds=[900.0])]
        ),
    ],
)
def test_nothing_is_blessed_that_was_not_asked_or_has_a_problem(report: ServingReport) -> None:
    assert not report.blessed
    assert report.to_dict()["problems"] == report.problems
