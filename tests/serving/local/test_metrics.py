from __future__ import annotations

import grpc
from prometheus_client.parser import text_string_to_metric_families

from serving.local.metrics import Metrics


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(metrics.page().decode())
    return {  # the parser adds `_total` to counters' names
        (sample.name.removesuffix("_total"), frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
    }


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[f":tensorflow:serving:{name}", frozenset(labels.items())]


def test_requests_are_counted_by_model_and_status() -> None:
    metrics = Metrics()
    for code in (None, None, grpc.StatusCode.INVALID_ARGUMENT):
        metrics.request_finished("cats", "Predict", "REST", code, 0.001)
    assert value(metrics, "request_count", model_name="cats", status="OK") == 2
    assert b'\n:tensorflow:serving:request_count{model_name="cats",status="OK"} 2\n' in metrics.page()
    assert value(metrics, "request_count", model_name="cats", status="INVALID_ARGUMENT") == 1


def test_latency_is_of_answers_only_in_microseconds() -> None:
    metrics = Metrics()
    metrics.request_finished("cats", "Predict", "GRPC", None, 0.025)
    metrics.request_finished("cats", "Predict", "GRPC", grpc.StatusCode.UNAVAILABLE, 5)
    labels = {"model_name": "cats", "API": "Predict", "entrypoint": "GRPC"}
    assert value(metrics, "request_latency_count", **labels) == 1
    assert value(metrics, "request_latency_sum", **labels) == 25_000


def test_buckets_add_up_as_prometheus_wants_them() -> None:
    metrics = Metrics()
    for seconds in (1e-6, 20e-6, 1.0, 1e6):
        metrics.batch_finished("cats", seconds, [seconds])
    buckets = {
        float(dict(labels)["le"]): count
        for (name, labels), count in samples(metrics).items()
        if name == ":tensorflow:serving:runtime_latency_bucket"
    }
    assert buckets[10] == 1
    assert buckets[32.4] == 2
    assert buckets[float("inf")] == 4
    assert [buckets[bound] for bound in sorted(buckets)] == sorted(buckets.values())
    assert value(metrics, "batching_session:queuing_latency_count", model_name="cats") == 4


def test_any_name_of_a_model_stays_one_label() -> None:
    metrics = Metrics()
    name = 'a "b" \\ c\nd'
    metrics.request_finished(name, "Predict", "REST", None, 0)
    assert value(metrics, "request_count", model_name=name, status="OK") == 1


def test_any_spelling_of_a_call_stays_one_label() -> None:
    metrics = Metrics()
    for api in ("metadata", "METADATA", "MetaData", ""):
        metrics.request_finished("cats", api, "REST", None, 0)
    for api, count in (("metadata", 1), ("", 3)):
        labels = {"model_name": "cats", "API": api, "entrypoint": "REST"}
        assert value(metrics, "request_latency_count", **labels) == count


def test_nothing_has_happened_yet() -> None:
    assert samples(Metrics()) == {}
