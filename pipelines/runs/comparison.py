"""Loads two runs and compares them on the terminal and as an HTML page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from components.errors import InputError
from components.evaluation_report import comparison, formatting
from components.evaluation_report.comparison import ComparedRun
from components.prediction_table import table as prediction_table
from pipelines.runs import metadata, run_record
from pipelines.runs.reports import REPORT_JSON
from pipelines.settings.tree import Settings

_NOTHING = "–"
_REQUIRED_KEYS = frozenset(
    {
        "class_names",
        "curves",
        "headline",
        "history",
        "pictures",
        "pipeline",
        "settings",
        "verdict",
        "versions",
    }
)


def read_run(settings: Settings, run_id: str) -> ComparedRun:
    """Reads the report and the prediction table of a run.

    Args:
        settings: Settings with the output root.
        run_id: ID of a run that has a report.

    Raises:
        InputError: `report.json` is missing, malformed or in an unsupported format.
        UnreadableStore: The run's record does not name both, and the metadata store is damaged.
    """
    report_dir, predictions = _find_artifacts(settings, run_id)
    report = _read_report(Path(report_dir, REPORT_JSON)) if report_dir else None
    if report is None:
        raise InputError(
            f"The report.json of run {run_id} is missing or cannot be read. To create a new one, run "
            f"catsdogs run --config {settings.runs_dir / run_id / 'settings.yaml'} and compare the new run."
        )
    has_table = predictions and Path(predictions, prediction_table.METADATA_FILE).is_file()
    rows = prediction_table.read(predictions) if predictions and has_table else None
    return ComparedRun(run_id, report, rows)


def _find_artifacts(settings: Settings, run_id: str) -> tuple[str | None, str | None]:
    """Returns the folders of a run's report and prediction table; None if there is none."""
    outcome = run_record.read_record(settings.runs_dir / run_id).outcome
    if outcome and outcome.report and outcome.predictions:
        return outcome.report, outcome.predictions
    # The run failed later, or an earlier version wrote its record.
    store = metadata.open_store(settings.metadata_path)
    outputs = metadata.run_outputs(store, run_id) if store else {}
    report, predictions = (
        outputs.get(name) for name in ("EvaluationReport.report", "PredictionTable.predictions")
    )
    return report.artifact.uri if report else None, predictions.artifact.uri if predictions else None


def _read_report(path: Path) -> dict[str, Any] | None:
    """Returns the content of `report.json`, or None if it cannot be read or lacks required keys."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return report if isinstance(report, dict) and report.keys() >= _REQUIRED_KEYS else None


def write_page(settings: Settings, first: ComparedRun, second: ComparedRun) -> Path:
    """Writes the page atomically into the folder of the second run and returns its path."""
    page = settings.runs_dir / second.run_id / f"compared-with-{first.run_id}.html"
    temporary_path = page.with_name(f"{page.name}.part")
    comparison.write_page(first, second, temporary_path)
    temporary_path.rename(page)
    return page


def table(first: ComparedRun, second: ComparedRun) -> Table:
    """Returns a table of verdicts, metrics and differing settings."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", first.run_id, second.run_id):
        table.add_column(heading, overflow="fold")
    runs = (first, second)
    table.add_row("Verdict", *(_verdict(run) for run in runs))
    table.add_row("Test images", *(f"{run.report['pictures']:,}" for run in runs))
    for name in [row["name"] for row in second.report["headline"]]:
        table.add_row(formatting.metric_name(name), *(_metric(run, name) for run in runs))
    for name, first_value, second_value in comparison.differences(
        first.report["settings"], second.report["settings"]
    ):
        table.add_row(Text(name), Text(first_value), Text(second_value))
    return table


def summary(first: ComparedRun, second: ComparedRun) -> list[str]:
    """Returns the paired comparison and the verdict of each run, as separate paragraphs."""
    verdicts = [
        f"{run.run_id}: {run.report['verdict']['sentence']}"
        for run in (first, second)
        if run.report["verdict"]
    ]
    return [_paired(first, second), *verdicts]


def _paired(first: ComparedRun, second: ComparedRun) -> str:
    paired = comparison.pair(first, second)
    if paired is None:
        return (
            "The runs cannot be compared image by image: they share no test image with the same label, or a "
            "prediction table is missing."
        )
    difference = paired.metrics["difference"]
    low, value, high = (difference[end] for end in ("low", "value", "high"))
    better = second.run_id if low > 0 else first.run_id if high < 0 else None
    significance = (
        f"The difference is statistically significant: {better} is better."
        if better
        else "The difference is not statistically significant."
    )
    return (
        f"On the {paired.images:,} test images that both runs share, "
        f"{paired.metrics['only_candidate_right']:,} are classified correctly only by {second.run_id} and "
        f"{paired.metrics['only_baseline_right']:,} only by {first.run_id}. Accuracy difference: "
        f"{formatting.points(value)} percentage points (95 % CI {formatting.points(low)} to "
        f"{formatting.points(high)}). {significance}{_excluded(paired.relabelled)}"
    )


def _excluded(relabelled: int) -> str:
    if not relabelled:
        return ""
    images = "1 more image is" if relabelled == 1 else f"{relabelled:,} more images are"
    return f" {images} excluded because the label differs between the runs."


def _verdict(run: ComparedRun) -> Text:
    verdict = run.report["verdict"]
    if verdict is None:
        return Text(_NOTHING)
    if verdict["override"] and verdict["override"]["applied"]:
        return Text("overridden", "magenta")
    return Text("blessed", "green") if verdict["blessed"] else Text("refused", "yellow")


def _metric(run: ComparedRun, name: str) -> str:
    estimate = next((row["candidate"] for row in run.report["headline"] if row["name"] == name), None)
    return (
        f"{formatting.metric(estimate, name)} ({formatting.interval(estimate, name)})"
        if estimate
        else _NOTHING
    )
