"""The server's counters, under TensorFlow Serving's names, in Prometheus' text format.

Written out here, because Prometheus' client library appends `_total` to counters, and dashboards made for
TensorFlow Serving look for its names.
"""

from __future__ import annotations

import bisect
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence

import grpc

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATH = "/monitoring/prometheus/metrics"

_APIS = ("Predict", "predict", "classify", "regress", "metadata")
_BOUNDS = [10 * 1.8**power for power in range(33)]  # microseconds, up to about half an hour


class _Histogram:
    """How many values fall below each of the bounds, and their sum."""

    def __init__(self) -> None:
        self.counts = [0] * (len(_BOUNDS) + 1)
        self.sum = 0.0

    def add(self, value: float) -> None:
        self.counts[bisect.bisect_right(_BOUNDS, value)] += 1
        self.sum += value


class Metrics:
    """Counts what the server does; safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: defaultdict[tuple[str, ...], int] = defaultdict(int)
        self._latencies: defaultdict[tuple[str, ...], _Histogram] = defaultdict(_Histogram)
        self._runtimes: defaultdict[tuple[str, ...], _Histogram] = defaultdict(_Histogram)
        self._queuing: defaultdict[tuple[str, ...], _Histogram] = defaultdict(_Histogram)

    def request_finished(
        self, model_name: str, api: str, entrypoint: str, code: grpc.StatusCode | None, seconds: float
    ) -> None:
        """Counts a request.

        Args:
            model_name: The model asked.
            api: "Predict" over gRPC; the path's last word over REST: "predict", "classify", "regress" or
                "metadata". The status and every other spelling count as "".
            entrypoint: "REST" or "GRPC".
            code: The error that it ended in, None for an answer. Only answers count for the latency.
            seconds: From the request's arrival to its answer.
        """
        api = api if api in _APIS else ""  # no histogram for every spelling that somebody tries
        with self._lock:
            self._requests[model_name, code.name if code else "OK"] += 1
            if code is None:
                self._latencies[model_name, api, entrypoint].add(seconds * 1e6)

    def batch_finished(self, model_name: str, seconds: float, waited: Sequence[float]) -> None:
        """Counts a run of the model.

        Args:
            model_name: The model that ran.
            seconds: How long it ran.
            waited: How long each request of the batch had waited for it, in seconds.
        """
        with self._lock:
            self._runtimes[model_name, "Predict", "TF2"].add(seconds * 1e6)
            for one in waited:
                self._queuing[(model_name,)].add(one * 1e6)

    def page(self) -> bytes:
        """Returns what Prometheus reads."""
        with self._lock:
            lines = [
                *_counter("request_count", ("model_name", "status"), self._requests),
                *_histograms("request_latency", ("model_name", "API", "entrypoint"), self._latencies),
                *_histograms("runtime_latency", ("model_name", "API", "runtime"), self._runtimes),
                *_histograms("batching_session:queuing_latency", ("model_name",), self._queuing),
            ]
        return ("\n".join(lines) + "\n").encode()


def _counter(name: str, labels: tuple[str, ...], values: dict[tuple[str, ...], int]) -> Iterator[str]:
    yield f"# TYPE :tensorflow:serving:{name} counter"
    for key, value in values.items():
        yield f":tensorflow:serving:{name}{{{_labels(labels, key)}}} {value}"


def _histograms(
    name: str, labels: tuple[str, ...], values: dict[tuple[str, ...], _Histogram]
) -> Iterator[str]:
    name = f":tensorflow:serving:{name}"
    yield f"# TYPE {name} histogram"
    for key, histogram in values.items():
        text = _labels(labels, key)
        below = 0
        for bound, count in zip([*map("{:g}".format, _BOUNDS), "+Inf"], histogram.counts, strict=True):
            below += count
            yield f'{name}_bucket{{{text},le="{bound}"}} {below}'
        yield f"{name}_sum{{{text}}} {histogram.sum:.0f}"
        yield f"{name}_count{{{text}}} {below}"


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    return ",".join(f'{name}="{_escape(value)}"' for name, value in zip(names, values, strict=True))


def _escape(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
