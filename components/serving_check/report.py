"""Compares the responses of a server with the limits; the content of `report.json`."""

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
class ServedPrediction:
    """A prediction for an image.

    Attributes:
        probability: Probability of the second class.
        label: The predicted class.
    """

    probability: float
    label: str


@dataclass(frozen=True)
class ProtocolResult:
    """Responses and latencies of a server over one protocol.

    Attributes:
        protocol: `REST` or `gRPC`.
        predictions: One for each image; the error message if the request failed.
        milliseconds: Latency of each request.
        signatures: Signatures in the metadata of the model.
    """

    protocol: str
    predictions: Sequence[ServedPrediction | str]
    milliseconds: Sequence[float]
    signatures: frozenset[str]

    def latency_percentile(self, percentile: float) -> float:
        """Returns a percentile (0 to 100) of the latency in milliseconds; 0 if there were no requests."""
        if not self.milliseconds:
            return 0.0
        return float(np.percentile(self.milliseconds, percentile, method="inverted_cdf"))


@dataclass(frozen=True)
class CheckLimits:
    """Limits for the responses of a server.

    Attributes:
        max_difference: Maximum difference from the expected probability.
        max_latency_ms: Maximum 95th percentile of the latency, in milliseconds.
        signatures: Signatures that the metadata must contain.
    """

    max_difference: float
    max_latency_ms: float
    signatures: frozenset[str]


@dataclass
class ServingReport:
    """Results of the serving check.

    Attributes:
        model_name: Name under which the server served the model.
        limits: Limits for the responses.
        server: Name and version of the server; None if it did not load the model.
        names: File names of the images that were sent.
        expected: Predictions that the Evaluator measures.
        results: Responses over each protocol.
        failure: Why the model cannot be loaded; None if it can.
    """

    model_name: str
    limits: CheckLimits
    server: str | None = None
    names: Sequence[str] = ()
    expected: Sequence[ServedPrediction] = ()
    results: list[ProtocolResult] = field(default_factory=list)
    failure: str | None = None

    @property
    def problems(self) -> list[str]:
        """The problems, one phrase each."""
        if self.failure:
            return [self.failure]
        return [problem for each in self.results for problem in self._problems(each)]

    @property
    def blessed(self) -> bool:
        """True if the model was served without problems."""
        return bool(self.results) and not self.problems

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `report.json`."""
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
            "protocols": {each.protocol: self._metrics(each) for each in self.results},
            "pictures": [
                {
                    "picture": name,
                    "expected": _row(expected),
                    **{each.protocol: _row(each.predictions[index]) for each in self.results},
                }
                for index, (name, expected) in enumerate(zip(self.names, self.expected, strict=True))
            ],
            "versions": {"python": platform.python_version()}
            | {library: importlib.metadata.version(library) for library in _LIBRARIES},
        }

    def _problems(self, result: ProtocolResult) -> list[str]:
        if not self.expected:
            return ["there were no test images to send"]
        problems, protocol, limits = [], result.protocol, self.limits
        count = len(self.expected)
        rows = list(zip(self.names, result.predictions, self.expected, strict=True))
        errors = [(name, prediction) for name, prediction, _ in rows if isinstance(prediction, str)]
        predicted = [
            (name, actual, expected)
            for name, actual, expected in rows
            if isinstance(actual, ServedPrediction)
        ]
        different = [row for row in predicted if _difference(row[1], row[2]) > limits.max_difference]
        mislabelled = [row for row in predicted if row[1].label != row[2].label]

        if missing := limits.signatures - result.signatures:
            problems.append(
                f"the metadata over {protocol} lack the signature {' and '.join(sorted(missing))} "
                f"(they contain {', '.join(sorted(result.signatures)) or 'none'})"
            )
        if errors:
            name, text = errors[0]
            problems.append(
                f"{protocol} returned an error for image {name} ({text}); {len(errors)} of {count} "
                "requests failed"
            )
        if different:
            name, prediction, expected = max(different, key=lambda row: _difference(row[1], row[2]))
            actual, wanted = _distinct(prediction.probability, expected.probability)
            problems.append(
                f"{protocol} returned the probability {actual} for image {name}, the Evaluator uses "
                f"{wanted}; {len(different)} of {count} images differ by more than "
                f"{limits.max_difference:g} (serving.check.max_difference)"
            )
        if mislabelled:
            name, prediction, expected = mislabelled[0]
            problems.append(
                f"{protocol} returned the label {prediction.label} for image {name}, the Evaluator uses "
                f"{expected.label}; {len(mislabelled)} of {count} labels differ"
            )
        if (p95 := result.latency_percentile(95)) > limits.max_latency_ms:
            problems.append(
                f"the 95th percentile of the latency over {protocol} is {p95:.4g} ms, above the maximum of "
                f"{limits.max_latency_ms:g} ms (serving.check.max_latency_ms)"
            )
        return problems

    def _metrics(self, result: ProtocolResult) -> dict[str, Any]:
        pairs = zip(result.predictions, self.expected, strict=True)
        differences = [
            _difference(actual, expected)
            for actual, expected in pairs
            if isinstance(actual, ServedPrediction)
        ]
        return {
            "signatures": sorted(result.signatures),
            "answered": len(differences),
            "largest_difference": max(differences, default=None),
            "p50_ms": round(result.latency_percentile(50), 3),
            "p95_ms": round(result.latency_percentile(95), 3),
        }


def _row(prediction: ServedPrediction | str) -> dict[str, Any]:
    if isinstance(prediction, str):
        return {"error": prediction}
    return {"probability": prediction.probability, "label": prediction.label}


def _difference(actual: ServedPrediction, expected: ServedPrediction) -> float:
    """Returns the absolute difference of two probabilities; infinity if one is NaN."""
    difference = abs(actual.probability - expected.probability)
    return math.inf if math.isnan(difference) else difference


def _distinct(first: float, second: float) -> tuple[str, str]:
    """Formats two numbers with at least four decimals, and enough of them to differ."""
    digits = next((digits for digits in range(4, 17) if f"{first:.{digits}f}" != f"{second:.{digits}f}"), 4)
    return f"{first:.{digits}f}", f"{second:.{digits}f}"
