"""Reads from ML Metadata what came out of a run: figures, verdict, check, push, report."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import ml_metadata

from components.evaluation_report import prediction_facts
from components.prediction_table import table
from components.quality_gate import verdict
from components.quality_gate.judge import OVERRIDE
from components.quality_gate.verdict import Verdict
from components.serving_check.report import REPORT
from pipelines.runs import metadata
from pipelines.runs.run_record import Check, Outcome, Push
from serving.errors import ServingError
from serving.repository.manifest import checksum_files
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig

_log = logging.getLogger(__name__)


def read(store: ml_metadata.MetadataStore, run_id: str) -> Outcome:
    """Collects the figures, the verdict with its reasons, the report, and the push.

    Args:
        store: An open store.
        run_id: The run; its steps have ended.
    """
    outputs = metadata.outputs(store, run_id)
    predictions = outputs.get("PredictionTable.predictions")
    metrics, intervals = _measured(predictions.artifact.uri) if predictions else ({}, {})
    blessing = outputs.get("QualityGate.blessing")
    judged = verdict.read(blessing.artifact.uri) if blessing else None
    check = outputs.get("ServingCheck.blessing")
    report = outputs.get("EvaluationReport.report")
    pushed = outputs.get("Pusher.pushed_model")
    return Outcome(
        metrics=metrics,
        intervals=intervals,
        blessed=judged.blessed if judged else None,
        sentence=judged.sentence if judged else "",
        reasons=_reasons(judged) if judged else [],
        overridden=bool(judged and judged.override and judged.override.applied),
        report=report.artifact.uri if report else None,
        push=_push(pushed) if pushed and pushed.custom("pushed") == 1 else None,
        reached_pusher=pushed is not None,
        not_pushed=str(pushed.custom("reason") or "") or None if pushed else None,
        check=_check(check) if check else None,
    )


def _reasons(judged: Verdict) -> list[str]:
    """Returns what is said of the failed rules that the sentence does not spell out, and of an override."""
    return [
        rule.words
        for rule in judged.rules
        if rule.name == OVERRIDE or (rule.state == "failed" and rule.reason not in judged.sentence)
    ]


def _measured(predictions: str) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Returns accuracy, auc and loss, as far as they exist, and the number of examples; with intervals."""
    facts = prediction_facts.collect(table.read(predictions), min_slice_images=0)
    headline = {row["name"]: row["candidate"] for row in facts["headline"]}
    figures = {name: headline[name] for name in ("accuracy", "auc", "loss") if headline[name]}
    metrics = {name: figure["value"] for name, figure in figures.items()}
    intervals = {
        name: (figure["low"], figure["high"]) for name, figure in figures.items() if figure["low"] is not None
    }
    return {**metrics, "examples": float(facts["pictures"])}, intervals


def _check(check: metadata.Output) -> Check:
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


def _push(pushed: metadata.Output) -> Push:
    address, _, number = str(pushed.custom("pushed_destination")).rpartition("/")
    if not pushed.cached:
        return Push(number, f"{address}/{number}")
    try:
        repository = open_repository(address, PushConfig("", "", 0))
        served = _served(repository, int(number), Path(pushed.artifact.uri))
    except (ServingError, OSError) as error:
        _log.warning("What is served in %s cannot be read: %s", address, error)
        served = int(number)  # as far as is known
    shown = number if served is None else served
    return Push(str(shown), f"{address}/{shown}", earlier=True, missing=served is None)


def _served(repository: ModelRepository, pushed: int, model: Path) -> int | None:
    """Returns the served version if it is a model that was pushed, by now perhaps under another number."""
    versions = repository.versions()
    if versions.served in (None, pushed):
        return versions.served
    return (
        versions.served
        if versions.served in repository.matching(versions, checksum_files(model)).live
        else None
    )
