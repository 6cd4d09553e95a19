"""Judges what a server answered, and leaves it for people and programs: `report.json`."""

from __future__ import annotations

import importlib.metadata
import math
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

REPORT = "report.json"
_LIBRARIES = ("tensorflow", "keras", "numpy", "protobuf", "grpcio", "aiohttp", "tensorflow-serving-api")


@dataclass(frozen=True)
class Answer:
    """What is said of a picture.

    Attributes:
        probability: Of the second class.
        label: The class.
    """

    probability: float
    label: str


@dataclass(frozen=True)
class Exchange:
    """What a server was sent over one protocol, and what it answered.

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

    def latency(self, share: float) -> float:
        """Returns the time in milliseconds that so many of 100 answers do not exceed; 0 of no answers."""
        if not self.milliseconds:
            return 0.0
        return float(np.percentile(self.milliseconds, share, method="inverted_cdf"))


@dataclass(frozen=True)
class CheckLimits:
    """What a server must keep to.

    Attributes:
        max_difference: How far a probability may lie from the expected one.
        max_latency_ms: What 95 of 100 single pictures must be answered within, in milliseconds.
        signatures: Those that the metadata must name.
    """

    max_difference: float
    max_latency_ms: float
    signatures: frozenset[str]


@dataclass
class Report:
    """What was sent, by which server it was answered, how exactly and how fast.

    Attributes:
        model_name: What the server called the model.
        limits: What it must keep to.
        server: Which one it was; None where none could be started.
        names: Of the pictures that were sent.
        expected: What the Evaluator works with.
        exchanges: What was answered over each protocol.
        failure: Why the model cannot be loaded; None where it can.
    """

    model_name: str
    limits: CheckLimits
    server: str | None = None
    names: Sequence[str] = ()
    expected: Sequence[Answer] = ()
    exchanges: list[Exchange] = field(default_factory=list)
    failure: str | None = None

    @property
    def problems(self) -> list[str]:
        """What is wrong, one phrase each."""
        if self.failure:
            return [self.failure]
        return [problem for each in self.exchanges for problem in self._problems(each)]

    @property
    def blessed(self) -> bool:
        """Whether the model may be served: it was asked, and nothing is wrong."""
        return bool(self.exchanges) and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Returns what `report.json` holds."""
        return {
            "blessed": self.blessed,
            "problems": self.problems,
            "model": self.model_name,
            "server": self.server,
            "limits": {
                "max_difference": self.limits.max_difference,
                "max_latency_ms": self.limits.max_latency_ms,
                "signatures": sorted(self.limits.signatures),
            },
            "protocols": {each.protocol: self._metrics(each) for each in self.exchanges},
            "pictures": [
                {
                    "picture": name,
                    "expected": _row(right),
                    **{each.protocol: _row(each.answers[index]) for each in self.exchanges},
                }
                for index, (name, right) in enumerate(zip(self.names, self.expected, strict=True))
            ],
            "versions": {"python": platform.python_version()}
            | {library: importlib.metadata.version(library) for library in _LIBRARIES},
        }

    def _problems(self, exchange: Exchange) -> list[str]:
        if not self.expected:
            return ["there was no picture to send"]
        found, protocol, limits = [], exchange.protocol, self.limits
        count = len(self.expected)
        rows = list(zip(self.names, exchange.answers, self.expected, strict=True))
        errors = [(name, answer) for name, answer, _ in rows if isinstance(answer, str)]
        answered = [(name, answer, right) for name, answer, right in rows if isinstance(answer, Answer)]
        off = [row for row in answered if _difference(row[1], row[2]) > limits.max_difference]
        mislabelled = [row for row in answered if row[1].label != row[2].label]

        if missing := limits.signatures - exchange.signatures:
            found.append(
                f"the metadata over {protocol} name no signature {' and no '.join(sorted(missing))} "
                f"(they name {', '.join(sorted(exchange.signatures)) or 'none'})"
            )
        if errors:
            name, text = errors[0]
            found.append(
                f"{protocol} answered picture {name} with an error ({text}); {len(errors)} of {count} "
                "pictures got one"
            )
        if off:
            name, answer, right = max(off, key=lambda row: _difference(row[1], row[2]))
            said, worked_with = _distinct(answer.probability, right.probability)
            found.append(
                f"{protocol} answered {said} for picture {name} where the Evaluator works with "
                f"{worked_with}; {len(off)} of {count} pictures differ by more than "
                f"{limits.max_difference:g} (serving.check.max_difference)"
            )
        if mislabelled:
            name, answer, right = mislabelled[0]
            found.append(
                f"{protocol} answered the label {answer.label} for picture {name} where the Evaluator works "
                f"with {right.label}; {len(mislabelled)} of {count} labels differ"
            )
        if (p95 := exchange.latency(95)) > limits.max_latency_ms:
            found.append(
                f"95 of 100 single pictures were answered within {p95:.4g} ms over {protocol}, and "
                f"{limits.max_latency_ms:g} ms are allowed (serving.check.max_latency_ms)"
            )
        return found

    def _metrics(self, exchange: Exchange) -> dict[str, Any]:
        pairs = zip(exchange.answers, self.expected, strict=True)
        differences = [_difference(answer, right) for answer, right in pairs if isinstance(answer, Answer)]
        return {
            "signatures": sorted(exchange.signatures),
            "answered": len(differences),
            "largest_difference": max(differences, default=None),
            "p50_ms": round(exchange.latency(50), 3),
            "p95_ms": round(exchange.latency(95), 3),
        }


def _row(answer: Answer | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"error": answer}
    return {"probability": answer.probability, "label": answer.label}


def _difference(answer: Answer, expected: Answer) -> float:
    """Returns how far apart two probabilities are; infinity where one of them is no number."""
    apart = abs(answer.probability - expected.probability)
    return math.inf if math.isnan(apart) else apart


def _distinct(first: float, second: float) -> tuple[str, str]:
    """Returns two different numbers with as few digits as show that they are different, four at least."""
    digits = next((digits for digits in range(4, 17) if f"{first:.{digits}f}" != f"{second:.{digits}f}"), 4)
    return f"{first:.{digits}f}", f"{second:.{digits}f}"
