"""What the check leaves behind for people and programs: `report.json`."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from components.serving_check.verdict import Answer, Exchange, Limits, difference, percentile

REPORT = "report.json"
_LIBRARIES = ("tensorflow", "keras", "numpy", "protobuf", "grpcio", "aiohttp", "tensorflow-serving-api")


@dataclass
class Report:
    """What was sent, by which server it was answered, how exactly and how fast.

    Attributes:
        model_name: What the server called the model.
        limits: What was asked of it.
        server: Which one it was; None where none could be started.
        names: Of the pictures that were sent.
        expected: What the Evaluator works with.
        exchanges: What was answered over each protocol.
        problems: What is wrong, one phrase each.
    """

    model_name: str
    limits: Limits
    server: str | None = None
    names: Sequence[str] = ()
    expected: Sequence[Answer] = ()
    exchanges: list[Exchange] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

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
            "protocols": {each.protocol: _figures(each, self.expected) for each in self.exchanges},
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


def _figures(exchange: Exchange, expected: Sequence[Answer]) -> dict[str, Any]:
    pairs = zip(exchange.answers, expected, strict=True)
    differences = [difference(answer, right) for answer, right in pairs if isinstance(answer, Answer)]
    return {
        "signatures": sorted(exchange.signatures),
        "answered": len(differences),
        "largest_difference": max(differences, default=None),
        "p50_ms": round(percentile(exchange.milliseconds, 50), 3),
        "p95_ms": round(percentile(exchange.milliseconds, 95), 3),
    }


def _row(answer: Answer | str) -> dict[str, Any]:
    if isinstance(answer, str):
        return {"error": answer}
    return {"probability": answer.probability, "label": answer.label}
