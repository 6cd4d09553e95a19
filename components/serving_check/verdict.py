"""Judges what a server answered, and says in words what is wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Answer:
    """What is said of a picture.

    Attributes:
        probability: Of the second class.
        label: The class.
    """

    probability: float
    label: str


_Row = tuple[str, Answer, Answer]  # a picture's name, what was answered, what was expected


@dataclass(frozen=True)
class Exchange:
    """What a server was asked over one protocol, and what it answered.

    Attributes:
        protocol: `REST` or `gRPC`.
        answers: One for each picture; a text where the server answered with an error.
        milliseconds: How long each took.
        signatures: Those that the metadata name.
    """

    protocol: str
    answers: Sequence[Answer | str]
    milliseconds: Sequence[float]
    signatures: frozenset[str]


@dataclass(frozen=True)
class Limits:
    """What is asked of a server.

    Attributes:
        max_difference: How far a probability may lie from the expected one.
        max_latency_ms: What 95 of 100 single pictures must be answered within, in milliseconds.
        signatures: Those that the metadata must name.
    """

    max_difference: float
    max_latency_ms: float
    signatures: frozenset[str]


def problems(
    exchange: Exchange, names: Sequence[str], expected: Sequence[Answer], limits: Limits
) -> list[str]:
    """Returns a phrase with figures for each thing that is wrong; none where the server may be trusted.

    Args:
        exchange: What the server answered.
        names: Of the pictures that it was asked about.
        expected: What the Evaluator works with.
        limits: What is asked of it.
    """
    if not expected:
        return ["there was no picture to send"]
    rows = list(zip(names, exchange.answers, expected, strict=True))
    answered = [(name, answer, right) for name, answer, right in rows if isinstance(answer, Answer)]
    return [
        *_unnamed(exchange, limits),
        *_errors(exchange, [(name, answer) for name, answer, _ in rows if isinstance(answer, str)]),
        *_differences(exchange, answered, limits),
        *_labels(exchange, answered),
        *_slowness(exchange, limits),
    ]


def _unnamed(exchange: Exchange, limits: Limits) -> Iterator[str]:
    missing = limits.signatures - exchange.signatures
    if missing:
        named = ", ".join(sorted(exchange.signatures)) or "none"
        yield (
            f"the metadata over {exchange.protocol} name no signature {' and no '.join(sorted(missing))} "
            f"(they name {named})"
        )


def _errors(exchange: Exchange, errors: Sequence[tuple[str, str]]) -> Iterator[str]:
    if errors:
        name, text = errors[0]
        yield (
            f"{exchange.protocol} answered picture {name} with an error ({text}); {len(errors)} of "
            f"{len(exchange.answers)} pictures got one"
        )


def _differences(exchange: Exchange, answered: Sequence[_Row], limits: Limits) -> Iterator[str]:
    off = [row for row in answered if difference(row[1], row[2]) > limits.max_difference]
    if off:
        name, answer, right = max(off, key=lambda row: difference(row[1], row[2]))
        said, worked_with = _distinct(answer.probability, right.probability)
        yield (
            f"{exchange.protocol} answered {said} for picture {name} where the Evaluator works with "
            f"{worked_with}; {len(off)} of {len(exchange.answers)} pictures differ by more than "
            f"{limits.max_difference:g} (serving.check.max_difference)"
        )


def _labels(exchange: Exchange, answered: Sequence[_Row]) -> Iterator[str]:
    others = [row for row in answered if row[1].label != row[2].label]
    if others:
        name, answer, right = others[0]
        yield (
            f"{exchange.protocol} answered the label {answer.label} for picture {name} where the Evaluator "
            f"works with {right.label}; {len(others)} of {len(exchange.answers)} labels differ"
        )


def _slowness(exchange: Exchange, limits: Limits) -> Iterator[str]:
    p95 = percentile(exchange.milliseconds, 95)
    if p95 > limits.max_latency_ms:
        yield (
            f"95 of 100 single pictures were answered within {p95:.4g} ms over {exchange.protocol}, and "
            f"{limits.max_latency_ms:g} ms are allowed (serving.check.max_latency_ms)"
        )


def difference(answer: Answer, expected: Answer) -> float:
    """Returns how far apart two probabilities are; infinity where one of them is no number."""
    apart = abs(answer.probability - expected.probability)
    return math.inf if math.isnan(apart) else apart


def percentile(values: Sequence[float], share: float) -> float:
    """Returns the smallest value that so many of 100 do not exceed; 0 of no values."""
    if not values:
        return 0.0
    return sorted(values)[math.ceil(share / 100 * len(values)) - 1]


def _distinct(first: float, second: float) -> tuple[str, str]:
    """Returns two different numbers with as few digits as show that they are different, four at least."""
    digits = next((digits for digits in range(4, 17) if f"{first:.{digits}f}" != f"{second:.{digits}f}"), 4)
    return f"{first:.{digits}f}", f"{second:.{digits}f}"
