"""Metrics, verdict and report of a run outcome, read from a real metadata store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.quality_gate.verdict import Override, Rule, Verdict
from pipelines.runs.run_record import RunOutcome

pytestmark = pytest.mark.slow

Read = Callable[..., RunOutcome]  # the fixture of conftest.py
PREDICTIONS, BLESSING = "PredictionTable.predictions", "QualityGate.blessing"
ENOUGH = Rule("accuracy", "passed", 0.97, 0.9, "accuracy 0.9700 reaches 0.9000, the floor")
WORSE = Rule("newest model", "failed", -0.04, 0.0, "4.0 points are lost.", "it loses 4.0 points")
LOW = Rule("accuracy", "failed", 0.8, 0.9, "The accuracy is 80 %.", "the accuracy is 80 %")
NOTED = Rule("grey image", "noted", 0.4, None, "accuracy 0.4 on grey images")


def write_verdict(folder: Path, verdict: Verdict) -> None:
    """Writes a verdict into the folder of the artifacts of the `read` fixture."""
    from components.quality_gate import verdict as stored

    stored.write(str(folder / "artifact"), verdict)


def test_metrics_and_intervals_come_from_the_prediction_table(read: Read, tmp_path: Path) -> None:
    from components.model_metrics import compute_metrics
    from components.prediction_table import table
    from tests.components.prediction_tables import drawn
    from tests.components.prediction_tables import table as make

    labels, probabilities = drawn(200, 0.9)
    table.write(str(tmp_path / "artifact"), make(labels, probabilities))
    outcome = read({PREDICTIONS: {}})
    assert outcome.metrics["accuracy"] == np.mean((probabilities >= 0.5) == labels)
    assert outcome.metrics["examples"] == 200
    assert outcome.blessed is None
    estimates = compute_metrics(labels, probabilities.astype(np.float32).astype(float), ("cat", "dog"))
    for name in ("accuracy", "auc", "loss"):
        assert outcome.metrics[name] == estimates[name].value
        assert outcome.intervals[name] == (estimates[name].low, estimates[name].high)


def test_undefined_metrics_are_left_out(read: Read, tmp_path: Path) -> None:
    from components.prediction_table import table
    from tests.components.prediction_tables import table as make

    table.write(str(tmp_path / "artifact"), make([1, 1, 1], [0.9, 0.8, 0.2]))
    outcome = read({PREDICTIONS: {}})
    assert "auc" not in outcome.metrics
    assert outcome.metrics["accuracy"] == pytest.approx(2 / 3)
    table.write(str(tmp_path / "artifact"), make([], []))
    outcome = read({PREDICTIONS: {}})
    assert (outcome.metrics, outcome.intervals) == ({"examples": 0}, {})


def test_a_nan_probability_leaves_auc_and_loss_out(read: Read, tmp_path: Path) -> None:
    from components.prediction_table import table
    from tests.components.prediction_tables import table as make

    table.write(str(tmp_path / "artifact"), make([1, 1, 0, 0], [0.9, np.nan, 0.2, 0.1]))
    outcome = read({PREDICTIONS: {}})
    assert set(outcome.metrics) == {"accuracy", "examples"}
    assert outcome.metrics["accuracy"] == 0.75


OVERRIDDEN = Rule("override", "noted", None, None, "Ada overrode the verdict.")


@pytest.mark.parametrize(
    ("sentence", "rules", "applied", "blessed", "reasons"),
    [
        ("Blessed: why.", [ENOUGH, NOTED], None, True, []),
        # the failed rules that the sentence only names
        ("Refused: the accuracy is 80 %; newest model, too.", [ENOUGH, LOW, WORSE], None, False, [WORSE]),
        ("So.", [WORSE, OVERRIDDEN], True, True, [WORSE, OVERRIDDEN]),
        ("So.", [WORSE, OVERRIDDEN], False, False, [WORSE, OVERRIDDEN]),
    ],
)
def test_the_verdict_has_its_sentence_and_further_reasons(
    read: Read,
    tmp_path: Path,
    sentence: str,
    rules: list[Rule],
    applied: bool | None,
    blessed: bool,
    reasons: list[Rule],
) -> None:
    override = None
    if applied is not None:
        override = Override("New camera.", "ada", "2026-11-22T05:10:01+00:00", applied=applied)
    write_verdict(tmp_path, Verdict(blessed, False, sentence, rules, override, 200))
    outcome = read({BLESSING: {"blessed": int(blessed)}})
    assert (outcome.blessed, outcome.sentence) == (blessed, sentence)
    assert outcome.reasons == [rule.words for rule in reasons]
    assert outcome.overridden is bool(applied)
    assert outcome.exit_status == (0 if blessed else 3)


def test_the_report_is_the_artifact_of_evaluation_report(read: Read, tmp_path: Path) -> None:
    assert read({"EvaluationReport.report": {}}).report == str(tmp_path / "artifact")
    assert read({"EvaluationReport.report": {}}, cached=True).report == str(tmp_path / "artifact")
