"""Tests `catsdogs compare` on real prediction tables; tests/e2e compares two real runs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from tests.pipelines.conftest import Command

pytestmark = pytest.mark.slow

OLD, NEW = "2026-11-20T05-10-01", "2026-11-21T05-10-02"
SETTINGS = "training:\n  seed: {seed}\n  batch_size: 32\n"


def make_run(run: str, labels: np.ndarray, probabilities: np.ndarray, seed: int, **verdict: Any) -> Any:
    """Returns a run with the report keys that the comparison reads."""
    from components.evaluation_report import prediction_metrics
    from components.evaluation_report.comparison import ComparedRun
    from tests.components.prediction_tables import table as make

    table = make(labels, probabilities)
    report = {
        **prediction_metrics.collect(table, 30),
        "verdict": {"blessed": True, "sentence": "Blessed: why.", "override": None, **verdict},
        "settings": SETTINGS.format(seed=seed),
    }
    return ComparedRun(run, report, table)


def printed(first: Any, second: Any) -> str:
    from pipelines.runs import comparison

    console = Console(width=200, highlight=False)
    with console.capture() as output:
        console.print(comparison.table(first, second))
    return output.get()


def test_metrics_verdicts_and_settings_are_shown_side_by_side() -> None:
    from components.model_metrics import compute_metrics
    from tests.components.prediction_tables import drawn

    labels, probabilities = drawn(400, 0.9)
    worse = np.where(np.arange(400) < 60, 1 - probabilities, probabilities)
    first = make_run(OLD, labels, probabilities, seed=1)
    second = make_run(NEW, labels, worse, seed=2, blessed=False, sentence="Refused: why.")
    output = printed(first, second)
    assert output.splitlines()[0].split() == [OLD, NEW]
    assert output.splitlines()[1].split() == ["Verdict", "blessed", "refused"]
    for name, predicted in (("Accuracy", probabilities), ("ROC AUC", probabilities), ("Accuracy", worse)):
        metric = compute_metrics(labels, predicted, ("cat", "dog"))[{"ROC AUC": "auc"}.get(name, "accuracy")]
        message = f"{metric.value:.4f}" if name == "ROC AUC" else f"{100 * metric.value:.1f}"
        assert message in next(line for line in output.splitlines() if line.startswith(name))
    assert next(line for line in output.splitlines() if line.startswith("training.seed")).split()[1:] == [
        "1",
        "2",
    ]
    assert "batch_size" not in output


def test_summary_counts_images_that_only_one_model_classifies_correctly() -> None:
    from pipelines.runs import comparison
    from tests.components.prediction_tables import drawn

    labels, probabilities = drawn(400, 1.0)
    worse = np.where(np.arange(400) < 60, 1 - probabilities, probabilities)
    paired, *verdicts = comparison.summary(
        make_run(OLD, labels, probabilities, 1), make_run(NEW, labels, worse, 2, sentence="Refused: why.")
    )
    numbers = re.findall(r"(?<![-\d])[−]?[\d.]+\b(?!-)", paired.replace(NEW, "").replace(OLD, ""))
    assert numbers[:4] == ["400", "0", "60", "−15.0"]
    assert paired.split(": ")[-1].startswith(OLD)  # the better one
    assert verdicts == [f"{OLD}: Blessed: why.", f"{NEW}: Refused: why."]
    same = comparison.summary(
        make_run(OLD, labels, probabilities, 1), make_run(NEW, labels, probabilities, 2)
    )[0]
    assert OLD not in same.split(": ")[-1]


def test_summary_without_common_images_has_no_metrics() -> None:
    from dataclasses import replace

    from pipelines.runs import comparison
    from tests.components.prediction_tables import drawn

    labels, probabilities = drawn(40, 0.9)
    first, second = make_run(OLD, labels, probabilities, 1), make_run(NEW, labels, probabilities, 2)
    output = comparison.summary(first, replace(second, table=None))[0]
    assert OLD not in output
    assert not re.search(r"\d", output)


@pytest.mark.parametrize(("changed", "message"), [(0, ""), (1, "1 more image "), (3, "3 more images ")])
def test_relabelled_images_are_excluded_and_counted(changed: int, message: str) -> None:
    from pipelines.runs import comparison
    from tests.components.prediction_tables import drawn

    labels, probabilities = drawn(40, 0.9)
    relabelled = np.where(np.arange(40) < changed, 1 - labels, labels)
    output = comparison.summary(
        make_run(OLD, labels, probabilities, 1), make_run(NEW, relabelled, probabilities, 2)
    )[0]
    assert f" {40 - changed} test images " in output
    assert message in output
    assert ("excluded" in output) == bool(changed)


@pytest.mark.parametrize("content", ['{"headline": [', "[]", '{"images": 40}'])
def test_unreadable_report_json_raises_input_error(tmp_path: Path, content: str) -> None:
    from components.errors import InputError
    from pipelines.runs import comparison
    from pipelines.settings.loading import load
    from tests.pipelines.stores import record_output

    settings = load(overrides=[f"output_root={tmp_path}"])
    (tmp_path / "report.json").write_text(content)
    record_output(settings.metadata_path, OLD, "EvaluationReport.report", tmp_path)
    with pytest.raises(InputError, match=f"catsdogs run --config .*{OLD}"):
        comparison.read_run(settings, OLD)


def test_run_without_report_or_report_json_exits_with_2(catsdogs: Command, tmp_path: Path) -> None:
    arguments = ("compare", OLD, NEW, "--set", f"output_root={tmp_path}")
    for run_id in (OLD, NEW):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
    status, _, output = catsdogs(*arguments)
    assert status == 2
    assert OLD in output
    assert "EvaluationReport" in output
    for run_id in (OLD, NEW):
        (tmp_path / "runs" / run_id / "report.html").touch()
    status, _, output = catsdogs(*arguments)
    assert status == 2
    assert f"catsdogs run --config {tmp_path / 'runs' / OLD}" in output


@pytest.mark.parametrize("has_record", [True, False])
def test_runs_with_a_record_are_read_without_metadata(tmp_path: Path, has_record: bool) -> None:
    from components.prediction_table import table as prediction_table
    from pipelines.runs import comparison
    from pipelines.runs.metadata import UnreadableStore
    from pipelines.runs.run_record import RunOutcome, RunRecord
    from pipelines.settings.loading import load
    from tests.components.prediction_tables import drawn

    settings = load(overrides=[f"output_root={tmp_path}"])
    settings.metadata_path.write_text("damaged")
    made = make_run(OLD, *drawn(40, 0.9), seed=1)
    (tmp_path / "report.json").write_text(json.dumps(dict.fromkeys(comparison._REQUIRED_KEYS, 40)))
    prediction_table.write(str(tmp_path), made.table)
    run_dir = settings.runs_dir / OLD
    run_dir.mkdir(parents=True)
    if has_record:
        outcome = RunOutcome(report=str(tmp_path), predictions=str(tmp_path))
        RunRecord(run_id=OLD, outcome=outcome).write(run_dir)
        run = comparison.read_run(settings, OLD)
        assert run.report["pictures"] == 40
        assert run.table is not None
        assert list(run.table.labels) == list(made.table.labels)
    else:
        with pytest.raises(UnreadableStore):
            comparison.read_run(settings, OLD)
