from __future__ import annotations

import grpc
from prometheus_client.parser import text_string_to_metric_families

from serving.local.metrics import ServerMetrics


def samples(metrics: ServerMetrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.page().decode())
    return {  # the parser adds `_total` to counters' names
        (sample.name.removesuffix("_total"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: ServerMetrics, name: str, **labels: str) -> float:
    return samples(metrics)[f":tensorflow:serving:{name}", frozenset(labels.items())]


def test_counts_requests_by_model_and_status() -> None:
    metrics = ServerMetrics()
    for code in (None, None, grpc.StatusCode.INVALID_ARGUMENT):
        metrics.request_finished('a "b"', "Predict", "REST", code, 0.001)
    assert value(metrics, "request_count", model_name='a "b"', status="OK") == 2
    assert value(metrics, "request_count", model_name='a "b"', status="INVALID_ARGUMENT") == 1
    lines = metrics.page().decode().splitlines()
    assert "# TYPE :tensorflow:serving:request_count counter" in lines
    assert any(line.startswith(":tensorflow:serving:request_count{") for line in lines)
    assert not any("_total" in line or "_created" in line for line in lines)


def test_latency_has_successful_requests_only_in_microseconds() -> None:
    metrics = ServerMetrics()
    metrics.request_finished("cats", "Predict", "GRPC", None, 0.025)
    metrics.request_finished("cats", "Predict", "GRPC", grpc.StatusCode.UNAVAILABLE, 5)
    labels = {"model_name": "cats", "API": "Predict", "entrypoint": "GRPC"}
    assert value(metrics, "request_latency_count", **labels) == 1
    assert value(metrics, "request_latency_sum", **labels) == 25_000


def test_counts_batches_and_their_queued_requests() -> None:
    metrics = ServerMetrics()
    metrics.batch_finished("cats", 0.01, [0.001, 0.002])
    runtime = {"model_name": "cats", "API": "Predict", "runtime": "TF2"}
    assert value(metrics, "runtime_latency_count", **runtime) == 1
    assert value(metrics, "batching_session:queuing_latency_count", model_name="cats") == 2
