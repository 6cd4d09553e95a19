"""Prometheus metrics of the local server, with the names of TensorFlow Serving."""

from __future__ import annotations

from collections.abc import Sequence

import grpc
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PATH = "/monitoring/prometheus/metrics"

_PREFIX = ":tensorflow:serving:"
_APIS = ("Predict", "predict", "metadata")
_BOUNDS = [10 * 1.8**power for power in range(33)]  # microseconds, up to about half an hour


class ServerMetrics:
    """Counts requests and batches. Thread-safe."""

    def __init__(self) -> None:
        disable_created_metrics()  # TensorFlow Serving has none
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
            model_name: The model that the request names.
            api: "Predict" for gRPC; "predict" or "metadata" for REST. Everything else counts as "".
            entrypoint: "REST" or "GRPC".
            code: The error's code; None for success. Only successful requests count for the latency.
            seconds: From the request's arrival to its response.
        """
        self._requests.labels(model_name, code.name if code else "OK").inc()
        if code is None:
            api = api if api in _APIS else ""
            self._latencies.labels(model_name, api, entrypoint).observe(seconds * 1e6)

    def batch_finished(self, model_name: str, seconds: float, queuing_seconds: Sequence[float]) -> None:
        """Counts a batch.

        Args:
            model_name: The model that ran.
            seconds: Duration of the batch.
            queuing_seconds: The time that each request of the batch was queued.
        """
        self._runtimes.labels(model_name, "Predict", "TF2").observe(seconds * 1e6)
        for queued in queuing_seconds:
            self._queuing.labels(model_name).observe(queued * 1e6)

    def page(self) -> bytes:
        """Returns the metrics in Prometheus' text format."""
        # The library adds `_total` to the names of counters, which TensorFlow Serving's do not have.
        return generate_latest(self._registry).replace(b"request_count_total", b"request_count")
