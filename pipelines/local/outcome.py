"""Reads from ML Metadata and TFMA what came out of a run, and says in words why."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ml_metadata
import tensorflow_model_analysis as tfma

from components import evaluation_metrics
from components.serving_check.report import REPORT
from pipelines import runs
from pipelines.local.summary import Check, Outcome, Push
from serving.errors import ServingError
from serving.publication.manifest import files_in
from serving.publication.place import Place, Terms, holding, open_place

_log = logging.getLogger(__name__)


def read(store: ml_metadata.MetadataStore, run_id: str) -> Outcome:
    """Collects the metrics, the verdict with its reasons, and the push.

    Args:
        store: An open store.
        run_id: The run; its steps have ended.
    """
    outputs = runs.outputs(store, run_id)
    metrics: dict[str, float] = {}
    reasons: list[str] = []
    if evaluation := outputs.get("ModelEvaluation"):
        metrics, reasons = read_evaluation(Path(evaluation.artifact.uri))
    blessing = outputs.get("ModelBlessing")
    check = outputs.get("InfraBlessing")
    pushed = outputs.get("PushedModel")
    return Outcome(
        metrics=metrics,
        blessed=None if blessing is None else blessing.custom("blessed") == 1,
        reasons=reasons,
        push=_push(pushed) if pushed and pushed.custom("pushed") == 1 else None,
        reached_pusher=pushed is not None,
        not_pushed=str(pushed.custom("reason") or "") or None if pushed else None,
        check=_check(check) if check else None,
    )


def _check(check: runs.Output) -> Check:
    report = json.loads((Path(check.artifact.uri) / REPORT).read_text(encoding="utf-8"))
    protocols = report["protocols"]
    differences = [found["largest_difference"] for found in protocols.values()]
    return Check(
        passed=check.custom("blessed") == 1,
        problems=report["problems"],
        server=report["server"],
        pictures=len(report["pictures"]),
        largest_difference=None if None in differences else max(differences, default=None),
        p95_ms={protocol: found["p95_ms"] for protocol, found in protocols.items()},
    )


def _push(pushed: runs.Output) -> Push:
    address, _, number = str(pushed.custom("pushed_destination")).rpartition("/")
    if not pushed.cached:
        return Push(number, f"{address}/{number}")
    try:
        place = open_place(address, Terms("", "", 0))
        served = _served(place, int(number), Path(pushed.artifact.uri))
    except (ServingError, OSError) as error:
        _log.warning("What is served in %s cannot be read: %s", address, error)
        served = int(number)  # as far as is known
    shown = number if served is None else served
    return Push(str(shown), f"{address}/{shown}", earlier=True, missing=served is None)


def _served(place: Place, pushed: int, model: Path) -> int | None:
    """Returns the served version if it is a model that was pushed, by now perhaps under another number."""
    stock = place.stock()
    if stock.served in (None, pushed):
        return stock.served
    return stock.served if stock.served in holding(place, stock, files_in(model)).live else None


def read_evaluation(folder: Path) -> tuple[dict[str, float], list[str]]:
    """Returns the metrics, and a phrase for each bound that the model was held to, from TFMA's output."""
    config = tfma.load_eval_result(str(folder)).config
    values, baseline = evaluation_metrics.read(folder)
    reasons = [
        reason
        for spec in config.metrics_specs
        for metric in spec.metrics
        for threshold in _thresholds(metric)
        for reason in _judge(metric.class_name, threshold, values, baseline or {})
    ]
    if baseline is None:
        reasons.append("compared with no other model: none has been blessed before")
    return evaluation_metrics.short(values), reasons + _failures_in_slices(folder)


def _thresholds(metric: Any) -> Iterator[Any]:
    """Yields the thresholds that hold for all examples together."""
    if metric.HasField("threshold"):
        yield metric.threshold
    for per_slice in metric.per_slice_thresholds:
        if any(not spec.feature_keys and not spec.feature_values for spec in per_slice.slicing_specs):
            yield per_slice.threshold


def _judge(
    class_name: str, threshold: Any, values: dict[str, float], baseline: dict[str, float]
) -> Iterator[str]:
    name = evaluation_metrics.plain(class_name)
    label = evaluation_metrics.label(class_name)
    value = values.get(name)
    if value is None:
        yield f"{label} was not measured"
        return
    floor = threshold.value_threshold
    if floor.HasField("lower_bound"):
        bound = floor.lower_bound.value
        yield f"{label} {value:.4f} {'≥' if value >= bound else 'is below'} {bound:.4f}, the floor"
    if floor.HasField("upper_bound"):
        bound = floor.upper_bound.value
        yield f"{label} {value:.4f} {'≤' if value <= bound else 'is above'} {bound:.4f}, the ceiling"
    change = threshold.change_threshold
    if not change.HasField("absolute") or name not in baseline:
        return
    difference = value - baseline[name]
    higher_is_better = change.direction == tfma.MetricDirection.HIGHER_IS_BETTER
    kept = difference >= change.absolute.value if higher_is_better else difference <= change.absolute.value
    yield (
        f"{label} {difference:+.4f} against the blessed model's {baseline[name]:.4f}, "
        f"{'within' if kept else 'beyond'} the {change.absolute.value:+.4f} allowed"
    )


def _failures_in_slices(folder: Path) -> list[str]:
    """Says in which parts of the examples a bound was missed; the whole is `_judge`'s."""
    result = tfma.load_validation_result(str(folder))
    missed: dict[str, list[str]] = {}
    for per_slice in result.metric_validations_per_slice:
        keys = per_slice.slice_key.single_slice_keys
        for failure in per_slice.failures if keys else ():
            label = evaluation_metrics.label(failure.metric_key.name)
            where = " and ".join(f"{key.column} {getattr(key, key.WhichOneof('kind'))}" for key in keys)
            if where not in missed.setdefault(label, []):
                missed[label].append(where)
    return [f"{label} misses its bound on {', '.join(places)}" for label, places in missed.items()]
