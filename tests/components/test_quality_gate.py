"""The component: what it reads, and the blessing that it leaves for the Pusher and for later runs."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tfx.components.util import model_utils
from tfx.types import standard_artifacts
from tfx.types.artifact import Artifact

from benchmarks.gate import equal_models, refusals, worse_models
from components import tfma_metrics
from components.errors import InputError, PipelineError
from components.prediction_table import table as prediction_table
from components.quality_gate import tfma_agreement, verdict
from components.quality_gate.executor import Executor
from tests.components.prediction_tables import drawn, table

LIMITS = {"min_accuracy": 0.9, "perturbed_images": 200, "max_calibration_error": None}
GOOD = {
    "blessed": True,
    "problems": [],
    "server": "the local server",
    "limits": {"max_latency_ms": 300},
    "protocols": {"REST": {"p95_ms": 41.25}},
}


def metrics_of(made: prediction_table.Predictions, **changes: Any) -> tfma_metrics.Metrics:
    """Returns what TFMA measures of a table."""
    predicted = made.probabilities >= 0.5
    said = np.where(made.labels == 1, made.probabilities, 1 - made.probabilities)
    values: dict[str, Any] = {
        "examples": len(made.labels),
        "accuracy": float((predicted == made.labels).mean()),
        "auc": _auc(made),
        "loss": float(-np.log(said).mean()),
        "precision": (1.0, 1.0),
        "recall": (1.0, 1.0),
        "f1": (1.0, 1.0),
        "confusion": np.zeros((2, 2), np.int64),
        "calibration_error": 0.0,
    }
    return tfma_metrics.Metrics(**(values | changes))


def _auc(made: prediction_table.Predictions) -> float:
    first, second = made.probabilities[made.labels == 0], made.probabilities[made.labels == 1]
    wins = (second[:, None] > first).sum() + 0.5 * (second[:, None] == first).sum()
    return float(wins / (len(first) * len(second)))


def judged(
    folder: Path, monkeypatch: pytest.MonkeyPatch, accuracy: float = 0.97, override: str = "", **about: Any
) -> tuple[Artifact, verdict.Verdict]:
    """Runs the executor on stored files; only TFMA's own files, which others test, are told instead."""
    made = replace(table(*drawn(300, accuracy, seed=1)), **about)
    artifacts = {
        "model": standard_artifacts.Model(),
        "predictions": standard_artifacts.Examples(),
        "evaluation": standard_artifacts.ModelEvaluation(),
        "serving_check": standard_artifacts.InfraBlessing(),
        "blessing": standard_artifacts.ModelBlessing(),
    }
    for name, artifact in artifacts.items():
        artifact.uri = str(folder / name)
        (folder / name).mkdir()
    artifacts["model"].id = 9
    (folder / "model/Format-Serving").mkdir()
    (folder / "model/Format-Serving/saved_model.pb").write_bytes(b"x" * 2_000_000)
    (folder / "serving_check/report.json").write_text(json.dumps(GOOD))
    prediction_table.write(artifacts["predictions"].uri, made)
    measured = tfma_metrics.Evaluation(metrics_of(made), {})
    monkeypatch.setattr(tfma_metrics, "read", lambda folder: measured)
    blessing = artifacts.pop("blessing")
    Executor().Do(
        {name: [artifact] for name, artifact in artifacts.items()},
        {"blessing": [blessing]},
        {"limits": json.dumps(LIMITS), "override": override},
    )
    found = verdict.read(blessing.uri)
    assert found is not None
    return blessing, found


def test_a_good_model_is_blessed_as_tfx_blesses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    states = {
        "newest": prediction_table.BaselineState("unreadable", 4, "/models/4", "its files are gone"),
        "best": prediction_table.BaselineState("none"),
    }
    refused, found = judged(tmp_path, monkeypatch, baselines=states)
    assert not model_utils.is_model_blessed(refused)
    assert (refused.get_int_custom_property("baseline_model_id"), found.blessed) == (4, False)
    assert refused.get_string_custom_property("baseline_model") == "/models/4"

    (tmp_path / "second").mkdir()
    blessing, found = judged(tmp_path / "second", monkeypatch)
    assert found.blessed
    assert model_utils.is_model_blessed(blessing)
    assert (Path(blessing.uri) / "BLESSED").exists()
    assert not (Path(blessing.uri) / "NOT_BLESSED").exists()
    assert blessing.get_string_custom_property("best") == "yes"
    assert blessing.get_string_custom_property("current_model") == str(tmp_path / "second/model")
    assert blessing.get_int_custom_property("current_model_id") == 9
    assert any(rule.name == "model size" and rule.figure == 2.0 for rule in found.rules)


def test_a_bad_model_is_a_result_and_a_person_may_bless_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alone", "overridden"):
        (tmp_path / name).mkdir()
    blessing, found = judged(tmp_path / "alone", monkeypatch, accuracy=0.8)
    assert [rule.name for rule in found.failed] == ["accuracy"]
    assert not model_utils.is_model_blessed(blessing)
    assert (Path(blessing.uri) / "NOT_BLESSED").exists()
    assert blessing.get_string_custom_property("best") == "no"

    given = {"reason": "a trial", "by": "Ann", "at": "2026-11-22T10:00:00Z", "rules": ["accuracy"]}
    override = json.dumps(given)
    blessing, found = judged(tmp_path / "overridden", monkeypatch, accuracy=0.8, override=override)
    assert model_utils.is_model_blessed(blessing)
    assert blessing.get_string_custom_property("best") == "no"
    assert found.override is not None
    assert found.override.reason == "a trial"
    assert found.override.lifted == found.override.rules == ("accuracy",)


@pytest.mark.parametrize(
    "override", ["because", "[]", '{"reason": "x"}', '{"reason": "x", "by": "y", "at": "z", "rules": 3}']
)
def test_an_override_that_cannot_be_read_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str
) -> None:
    with pytest.raises(InputError, match=re.escape(repr(override))):
        judged(tmp_path, monkeypatch, override=override)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"accuracy": 0.5}, "accuracy"),
        ({"auc": 0.5}, "auc"),
        ({"loss": float("nan")}, "loss"),
        ({"examples": 5}, "number of images"),
    ],
)
def test_figures_that_differ_from_tfma_s_stop_the_run(changes: dict[str, Any], name: str) -> None:
    made = table(*drawn(200, 0.9))
    tfma_agreement.require_agreement(made, metrics_of(made))
    with pytest.raises(PipelineError, match=name):
        tfma_agreement.require_agreement(made, metrics_of(made, **changes))


def test_the_whole_verdict_keeps_its_error_rates() -> None:
    """A short run of `make bench-gate`: equal models are blessed, worse ones are refused."""
    two = [row for row in equal_models([300]) if row.case.past == "two"][-1]
    assert refusals(two, 200) <= 17  # of 10; more than 17 has a probability of 1 % at a rate of 5 %
    worse = next(row for row in worse_models([1000]) if row.case.past == "two")
    assert refusals(worse, 200) >= 170  # of 180 at a rate of 90 %; fewer than 170 has one of 1 %
