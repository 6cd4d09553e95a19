"""`catsdogs compare` on real tables; tests/e2e compares two real runs."""

from __future__ import annotations

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


def side(run: str, labels: np.ndarray, answers: np.ndarray, seed: int, **verdict: Any) -> Any:
    """Returns a side of the comparison with the facts that it reads."""
    from components.evaluation_report import prediction_facts
    from components.evaluation_report.comparison import Side
    from tests.components.prediction_tables import table as make

    table = make(labels, answers)
    facts = {
        **prediction_facts.collect(table, 30),
        "verdict": {"blessed": True, "sentence": "Blessed: why.", "override": None, **verdict},
        "settings": SETTINGS.format(seed=seed),
    }
    return Side(run, facts, table)


def printed(first: Any, second: Any) -> str:
    from pipelines.runs import comparison

    console = Console(width=200, highlight=False)
    with console.capture() as said:
        console.print(comparison.table(first, second))
    return said.get()


def test_figures_verdicts_and_settings_are_side_by_side() -> None:
    from components.model_metrics import compute_metrics
    from tests.components.prediction_tables import drawn

    labels, answers = drawn(400, 0.9)
    worse = np.where(np.arange(400) < 60, 1 - answers, answers)
    first = side(OLD, labels, answers, seed=1)
    second = side(NEW, labels, worse, seed=2, blessed=False, sentence="Refused: why.")
    said = printed(first, second)
    assert said.splitlines()[0].split() == [OLD, NEW]
    assert said.splitlines()[1].split() == ["Verdict", "blessed", "refused"]
    for name, answered in (("Accuracy", answers), ("Area under ROC", answers), ("Accuracy", worse)):
        figure = compute_metrics(labels, answered, ("cat", "dog"))[
            {"Area under ROC": "auc"}.get(name, "accuracy")
        ]
        told = f"{figure.value:.4f}" if name == "Area under ROC" else f"{100 * figure.value:.1f}"
        assert told in next(line for line in said.splitlines() if line.startswith(name))
    assert next(line for line in said.splitlines() if line.startswith("training.seed")).split()[1:] == [
        "1",
        "2",
    ]
    assert "batch_size" not in said


def test_what_only_one_of_them_gets_right_is_counted() -> None:
    from pipelines.runs import comparison
    from tests.components.prediction_tables import drawn

    labels, answers = drawn(400, 1.0)
    worse = np.where(np.arange(400) < 60, 1 - answers, answers)
    paired, *verdicts = comparison.sentences(
        side(OLD, labels, answers, 1), side(NEW, labels, worse, 2, sentence="Refused: why.")
    )
    numbers = re.findall(r"(?<![-\d])[−]?[\d.]+\b(?!-)", paired.replace(NEW, "").replace(OLD, ""))
    assert numbers[:4] == ["400", "0", "60", "−15.0"]
    assert paired.split(": ")[-1].startswith(OLD)  # the better one
    assert verdicts == [f"{OLD}: Blessed: why.", f"{NEW}: Refused: why."]
    same = comparison.sentences(side(OLD, labels, answers, 1), side(NEW, labels, answers, 2))[0]
    assert OLD not in same.split(": ")[-1]


def test_without_a_common_picture_there_is_no_pair() -> None:
    from dataclasses import replace

    from pipelines.runs import comparison
    from tests.components.prediction_tables import drawn

    labels, answers = drawn(40, 0.9)
    first, second = side(OLD, labels, answers, 1), side(NEW, labels, answers, 2)
    said = comparison.sentences(first, replace(second, table=None))[0]
    assert OLD not in said
    assert not re.search(r"\d", said)


@pytest.mark.parametrize(("changed", "told"), [(0, ""), (1, "One more picture "), (3, "3 more pictures ")])
def test_pictures_with_another_label_are_left_out_and_counted(changed: int, told: str) -> None:
    from pipelines.runs import comparison
    from tests.components.prediction_tables import drawn

    labels, answers = drawn(40, 0.9)
    relabelled = np.where(np.arange(40) < changed, 1 - labels, labels)
    said = comparison.sentences(side(OLD, labels, answers, 1), side(NEW, relabelled, answers, 2))[0]
    assert f" {40 - changed} pictures " in said
    assert told in said
    assert ("left out" in said) == bool(changed)


@pytest.mark.parametrize("content", ['{"headline": [', "[]", '{"pictures": 40}'])
def test_figures_that_cannot_be_read_are_gone(tmp_path: Path, content: str) -> None:
    from components.errors import InputError
    from pipelines.runs import comparison
    from pipelines.settings.loading import load
    from tests.pipelines.stores import record_output

    settings = load(overrides=[f"output_root={tmp_path}"])
    (tmp_path / "report.json").write_text(content)
    record_output(settings.metadata_path, OLD, "EvaluationReport.report", tmp_path)
    with pytest.raises(InputError, match=f"catsdogs run --config .*{OLD}"):
        comparison.side(settings, OLD)


def test_a_run_without_a_report_or_without_its_figures(catsdogs: Command, tmp_path: Path) -> None:
    asked = ("compare", OLD, NEW, "--set", f"output_root={tmp_path}")
    for run_id in (OLD, NEW):
        (tmp_path / "runs" / run_id).mkdir(parents=True)
    status, _, said = catsdogs(*asked)
    assert status == 2
    assert OLD in said
    assert "EvaluationReport" in said
    for run_id in (OLD, NEW):
        (tmp_path / "runs" / run_id / "report.html").touch()
    status, _, said = catsdogs(*asked)
    assert status == 2
    assert f"catsdogs run --config {tmp_path / 'runs' / OLD}" in said
