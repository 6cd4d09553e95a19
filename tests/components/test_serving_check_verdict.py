"""What is wrong with a server's answers, in words."""

from __future__ import annotations

import dataclasses
import math

import pytest

from components.serving_check.report import Report
from components.serving_check.verdict import Answer, Exchange, Limits, percentile, problems

LIMITS = Limits(1e-5, 100, frozenset({"serving_default", "serving_examples"}))
NAMES = ["cats/12.jpg", "dogs/7.jpg", "cats/3.jpg"]
EXPECTED = [Answer(0.2113, "cat"), Answer(0.9, "dog"), Answer(0.4, "cat")]
GOOD = Exchange("REST", list(EXPECTED), [30.0, 10.0, 20.0], LIMITS.signatures)


def wrong(**changes: object) -> list[str]:
    return problems(dataclasses.replace(GOOD, **changes), NAMES, EXPECTED, LIMITS)  # type: ignore[arg-type]


def answers(first: Answer | str) -> list[Answer | str]:
    return [first, *EXPECTED[1:]]


def test_the_same_answers_in_time_are_right() -> None:
    assert wrong() == []
    assert wrong(answers=answers(Answer(0.2113 + 9e-6, "cat"))) == []


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"answers": answers(Answer(0.7312, "cat"))},
            "REST answered 0.7312 for picture cats/12.jpg where the Evaluator works with 0.2113; 1 of 3 "
            "pictures differ by more than 1e-05 (serving.check.max_difference)",
        ),
        (
            {"answers": answers(Answer(0.21133, "cat"))},
            "REST answered 0.21133 for picture cats/12.jpg where the Evaluator works with 0.21130; 1 of 3 "
            "pictures differ by more than 1e-05 (serving.check.max_difference)",
        ),
        (
            {"answers": answers(Answer(math.nan, "cat"))},
            "REST answered nan for picture cats/12.jpg where the Evaluator works with 0.2113; 1 of 3 "
            "pictures differ by more than 1e-05 (serving.check.max_difference)",
        ),
        (
            {"answers": answers(Answer(0.2113, "dog"))},
            "REST answered the label dog for picture cats/12.jpg where the Evaluator works with cat; 1 of 3 "
            "labels differ",
        ),
        (
            {"answers": ["Unknown image file format.", *EXPECTED[1:]]},
            "REST answered picture cats/12.jpg with an error (Unknown image file format.); 1 of 3 pictures "
            "got one",
        ),
        (
            {"signatures": frozenset({"serving_default"})},
            "the metadata over REST name no signature serving_examples (they name serving_default)",
        ),
        (
            {"signatures": frozenset()},
            "the metadata over REST name no signature serving_default and no serving_examples "
            "(they name none)",
        ),
        (
            {"milliseconds": [10.0, 100.4, 20.0]},
            "95 of 100 single pictures were answered within 100.4 ms over REST, and 100 ms are allowed "
            "(serving.check.max_latency_ms)",
        ),
    ],
)
def test_what_is_wrong_is_said_with_figures(changes: dict[str, object], problem: str) -> None:
    assert wrong(**changes) == [problem]


def test_the_worst_picture_is_named_and_everything_that_is_wrong_is_listed() -> None:
    found = wrong(
        answers=[Answer(0.3, "cat"), Answer(0.1, "cat"), "broken"],
        signatures=frozenset({"serving_default"}),
        milliseconds=[900.0] * 3,
    )
    assert len(found) == 5
    assert (
        "REST answered 0.1000 for picture dogs/7.jpg where the Evaluator works with 0.9000; 2 of 3"
        in found[2]
    )


def test_a_server_that_was_asked_nothing_has_not_shown_anything() -> None:
    nothing = Exchange("gRPC", [], [], LIMITS.signatures)
    assert problems(nothing, [], [], LIMITS) == ["there was no picture to send"]


@pytest.mark.parametrize(
    ("values", "share", "found"),
    [([3.0, 1.0, 2.0], 50, 2.0), ([3.0, 1.0, 2.0], 95, 3.0), ([float(n) for n in range(1, 101)], 95, 95.0)],
)
def test_percentiles_are_values_that_were_measured(values: list[float], share: float, found: float) -> None:
    assert percentile(values, share) == found


def test_the_report_holds_what_was_sent_and_what_came_back() -> None:
    off = dataclasses.replace(
        GOOD,
        protocol="gRPC",
        answers=[*answers(Answer(0.3113, "cat"))[:2], "too busy"],
        milliseconds=[5.0] * 3,
    )
    report = Report("pets", LIMITS, "a server", NAMES, EXPECTED, [GOOD, off])
    told = report.to_dict()
    assert told["blessed"] is True
    assert told["protocols"]["REST"]["largest_difference"] == 0
    assert told["protocols"]["REST"]["p50_ms"] == 20
    assert told["protocols"]["gRPC"]["largest_difference"] == pytest.approx(0.1)
    assert told["protocols"]["gRPC"]["answered"] == 2
    assert told["pictures"][0] == {
        "picture": "cats/12.jpg",
        "expected": {"probability": 0.2113, "label": "cat"},
        "REST": {"probability": 0.2113, "label": "cat"},
        "gRPC": {"probability": 0.3113, "label": "cat"},
    }
    assert told["pictures"][2]["gRPC"] == {"error": "too busy"}
    assert told["versions"]["tensorflow"]


@pytest.mark.parametrize(
    ("exchanges", "wrong"), [([], []), ([], ["it cannot be loaded"]), ([GOOD], ["slow"])]
)
def test_nothing_is_blessed_that_was_not_asked_or_has_a_problem(
    exchanges: list[Exchange], wrong: list[str]
) -> None:
    names, expected = (NAMES, EXPECTED) if exchanges else ([], [])
    assert not Report("pets", LIMITS, "a server", names, expected, exchanges, wrong).blessed
