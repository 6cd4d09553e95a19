"""The server's metrics, under TensorFlow Serving's names."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATH = "/monitoring/prometheus/metrics"

_PREFIX = ":tensorflow:serving:"
_APIS = ("Predict", "predict", "metadata")
_BOUNDS = [10 * 1.8**power for power in range(33)]  # microseconds, up to about half an hour


class Metrics:
    """Counts what the server does; safe to use from several threads."""

    def __init__(self) -> None:
        disable_created_metrics()  # which TensorFlow Serving does not have
        self._registry = CollectorRegistry()
        self._requests = Counter(
            f"{_PREFIX}request_count", "Requests.", ["model_name", "status"], registry=self._registry
        )
        self._latencies = self._histogram("request_latency", ["model_name", "API", "entrypoint"])
        self._runtimes = self._histogram("runtime_latency", ["model_name", "API", "runtime"])
        self._queuing = self._histogram("batching_session:queuing_latency", ["model_name"])

    def _histogram(self, name: str, labels: list[str]) -> Histogram:
        return Histogram(
            f"{_PREFIX}{name}", "Microseconds.", labels, registry=self._registry, buckets=_BOUNDS
        )

    def request_finished(
        self, model_name: str, api: str, entrypoint: str, code: grpc.StatusCode | None, seconds: float
    ) -> None:
        """Counts a request.

        Args:
            model_name: The model asked.
            api: "Predict" over gRPC; "predict" or "metadata" over REST. All else counts as "".
            entrypoint: "REST" or "GRPC".
            code: The error that it ended in, None for an answer. Only answers count for the latency.
            seconds: From the request's arrival to its answer.
        """
        self._requests.labels(model_name, code.name if code else "OK").inc()
        if code is None:
            api = api if api in _APIS else ""
            self._latencies.labels(model_name, api, entrypoint).observe(seconds * 1e6)

    def batch_finished(self, model_name: str, seconds: float, waited: Sequence[float]) -> None:
        """Counts a run of the model.

        Args:
            model_name: The model that ran.
            seconds: How long it ran.
            waited: How long each request of the batch had waited for it, in seconds.
        """
        self._runtimes.labels(model_name, "Predict", "TF2").observe(seconds * 1e6)
        for one in waited:
            self._queuing.labels(model_name).observe(one * 1e6)

    def page(self) -> bytes:
        """Returns what Prometheus reads."""
        # The library ends counters' names in `_total`, and dashboards look for TensorFlow Serving's.
        return generate_latest(self._registry).replace(b"request_count_total", b"request_count")
