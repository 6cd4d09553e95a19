"""Reads the outcome of a run from its artifacts: metrics, verdict, serving check, push and report."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import ml_metadata

from components.evaluation_report import prediction_metrics
from components.prediction_table import table
from components.quality_gate import verdict
from components.quality_gate.judge import OVERRIDE
from components.quality_gate.verdict import Verdict
from components.serving_check.report import REPORT
from pipelines.runs import metadata
from pipelines.runs.run_record import PushOutcome, RunOutcome, ServingCheckOutcome
from serving.errors import ServingError
from serving.repository.manifest import checksum_files
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig

_log = logging.getLogger(__name__)


def read_outcome(store: ml_metadata.MetadataStore, run_id: str) -> RunOutcome:
    """Reads the metrics, the verdict with its reasons, the serving check, the report and the push.

    Args:
        store: The metadata store.
        run_id: The run, whose steps have all ended.
    """
    outputs = metadata.run_outputs(store, run_id)
    predictions = outputs.get("PredictionTable.predictions")
    metrics, intervals = _measure(predictions.artifact.uri) if predictions else ({}, {})
    blessing = outputs.get("QualityGate.blessing")
    judged = verdict.read(blessing.artifact.uri) if blessing else None
    check = outputs.get("ServingCheck.blessing")
    report = outputs.get("EvaluationReport.report")
    pushed = outputs.get("Pusher.pushed_model")
    return RunOutcome(
        metrics=metrics,
        intervals=intervals,
        blessed=judged.blessed if judged else None,
        sentence=judged.sentence if judged else "",
        reasons=_verdict_reasons(judged) if judged else [],
        overridden=bool(judged and judged.override and judged.override.applied),
        report=report.artifact.uri if report else None,
        predictions=predictions.artifact.uri if predictions else None,
        push=_read_push(pushed) if pushed and pushed.custom_property("pushed") == 1 else None,
        pusher_ran=pushed is not None,
        not_pushed_reason=str(pushed.custom_property("reason") or "") or None if pushed else None,
        check=_read_serving_check(check) if check else None,
    )


def _verdict_reasons(judged: Verdict) -> list[str]:
    """Returns a sentence for each failed rule that the verdict does not explain, and for an override."""
    return [
        rule.words
        for rule in judged.rules
        if rule.name == OVERRIDE or (rule.state == "failed" and rule.reason not in judged.sentence)
    ]


def _measure(predictions: str) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Returns the defined ones of accuracy, auc and loss with the number of examples, and the intervals."""
    facts = prediction_metrics.collect(table.read(predictions), min_slice_images=0)
    headline = {row["name"]: row["candidate"] for row in facts["headline"]}
    estimates = {name: headline[name] for name in ("accuracy", "auc", "loss") if headline[name]}
    metrics = {name: estimate["value"] for name, estimate in estimates.items()}
    intervals = {
        name: (estimate["low"], estimate["high"])
        for name, estimate in estimates.items()
        if estimate["low"] is not None
    }
    return {**metrics, "examples": float(facts["pictures"])}, intervals


def _read_serving_check(check: metadata.RunOutput) -> ServingCheckOutcome:
    report = json.loads((Path(check.artifact.uri) / REPORT).read_text(encoding="utf-8"))
    protocols = report["protocols"]
    differences = [result["largest_difference"] for result in protocols.values()]
    return ServingCheckOutcome(
        passed=check.custom_property("blessed") == 1,
        problems=report["problems"],
        server=report["server"],
        images=len(report["pictures"]),
        largest_difference=None if None in differences else max(differences, default=None),
        p95_ms={protocol: result["p95_ms"] for protocol, result in protocols.items()},
    )


def _read_push(pushed: metadata.RunOutput) -> PushOutcome:
    address, _, number = str(pushed.custom_property("pushed_destination")).rpartition("/")
    if not pushed.cached:
        return PushOutcome(number, f"{address}/{number}")
    try:
        repository = open_repository(address, PushConfig("", "", 0))
        served_version = _find_served_version(repository, int(number), Path(pushed.artifact.uri))
    except (ServingError, OSError) as error:
        _log.warning("The model repository %s cannot be read: %s", address, error)
        served_version = int(number)  # assume that nothing has changed
    version = number if served_version is None else served_version
    return PushOutcome(
        str(version), f"{address}/{version}", already_pushed=True, no_longer_served=served_version is None
    )


def _find_served_version(repository: ModelRepository, pushed: int, model: Path) -> int | None:
    """Returns the served version if it has the pushed model's files, even under another number; else None."""
    versions = repository.versions()
    if versions.served in (None, pushed):
        return versions.served
    return (
        versions.served
        if versions.served in repository.matching(versions, checksum_files(model)).live
        else None
    )
