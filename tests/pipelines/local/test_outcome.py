"""What the summary tells of figures, verdict and report, read from a real metadata store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from components.quality_gate.verdict import Override, Rule, Verdict
from pipelines.runs.run_record import Outcome

pytestmark = pytest.mark.slow

Read = Callable[..., Outcome]  # the fixture of conftest.py
PREDICTIONS, BLESSING = "PredictionTable.predictions", "QualityGate.blessing"
ENOUGH = Rule("accuracy", "passed", 0.97, 0.9, "accuracy 0.9700 reaches 0.9000, the floor")
WORSE = Rule("newest model", "failed", -0.04, 0.0, "4.0 points are lost.", "it loses 4.0 points")
LOW = Rule("accuracy", "failed", 0.8, 0.9, "It gets 80 % right.", "it gets 80 % right")
NOTED = Rule("grey picture", "noted", 0.4, None, "a grey picture gets 0.4")


def judged(folder: Path, verdict: Verdict) -> None:
    """Writes a verdict where the fixture's artifacts are."""
    from components.quality_gate import verdict as stored

    stored.write(str(folder / "artifact"), verdict)


def test_figures_are_those_of_the_prediction_table_with_their_intervals(read: Read, tmp_path: Path) -> None:
    from components.model_metrics import compute_metrics
    from components.prediction_table import table
    from tests.components.prediction_tables import drawn
    from tests.components.prediction_tables import table as make

    labels, probabilities = drawn(200, 0.9)
    table.write(str(tmp_path / "artifact"), make(labels, probabilities))
    found = read({PREDICTIONS: {}})
    assert found.metrics["accuracy"] == np.mean((probabilities >= 0.5) == labels)
    assert found.metrics["examples"] == 200
    assert found.blessed is None
    figures = compute_metrics(labels, probabilities.astype(np.float32).astype(float), ("cat", "dog"))
    for name in ("accuracy", "auc", "loss"):
        assert found.metrics[name] == figures[name].value
        assert found.intervals[name] == (figures[name].low, figures[name].high)


def test_what_cannot_be_measured_is_left_out(read: Read, tmp_path: Path) -> None:
    from components.prediction_table import table
    from tests.components.prediction_tables import table as make

    table.write(str(tmp_path / "artifact"), make([1, 1, 1], [0.9, 0.8, 0.2]))
    found = read({PREDICTIONS: {}})
    assert "auc" not in found.metrics
    assert found.metrics["accuracy"] == pytest.approx(2 / 3)
    table.write(str(tmp_path / "artifact"), make([], []))
    found = read({PREDICTIONS: {}})
    assert (found.metrics, found.intervals) == ({"examples": 0}, {})


def test_a_model_that_answers_no_number_is_told_of_and_not_an_error(read: Read, tmp_path: Path) -> None:
    from components.prediction_table import table
    from tests.components.prediction_tables import table as make

    table.write(str(tmp_path / "artifact"), make([1, 1, 0, 0], [0.9, np.nan, 0.2, 0.1]))
    found = read({PREDICTIONS: {}})
    assert set(found.metrics) == {"accuracy", "examples"}
    assert found.metrics["accuracy"] == 0.75


OVERRIDDEN = Rule("override", "noted", None, None, "Ada overrode the verdict.")


@pytest.mark.parametrize(
    ("sentence", "rules", "applied", "blessed", "reasons"),
    [
        ("Blessed: why.", [ENOUGH, NOTED], None, True, []),
        # the failed rules that the sentence only names
        ("Refused: it gets 80 % right; newest model, too.", [ENOUGH, LOW, WORSE], None, False, [WORSE]),
        ("So.", [WORSE, OVERRIDDEN], True, True, [WORSE, OVERRIDDEN]),
        ("So.", [WORSE, OVERRIDDEN], False, False, [WORSE, OVERRIDDEN]),
    ],
)
def test_the_verdict_with_its_sentence_and_what_that_does_not_say(
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
    judged(tmp_path, Verdict(blessed, False, sentence, rules, override, 200))
    found = read({BLESSING: {"blessed": int(blessed)}})
    assert (found.blessed, found.sentence) == (blessed, sentence)
    assert found.reasons == [rule.words for rule in reasons]
    assert found.overridden is bool(applied)
    assert found.exit_status == (0 if blessed else 3)


def test_the_report_is_where_its_step_made_it(read: Read, tmp_path: Path) -> None:
    assert read({"EvaluationReport.report": {}}).report == str(tmp_path / "artifact")
    assert read({"EvaluationReport.report": {}}, cached=True).report == str(tmp_path / "artifact")
