"""Two runs side by side on the terminal, and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rich.table import Table
from rich.text import Text

from components.errors import InputError
from components.evaluation_report import comparison, formatting
from components.evaluation_report.comparison import Side
from components.prediction_table import table as prediction_table
from pipelines.runs import metadata
from pipelines.runs.reports import FIGURES
from pipelines.settings.tree import Settings

_NOTHING = "–"
_NEEDED = frozenset(
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


def side(settings: Settings, run_id: str) -> Side:
    """Reads one of the runs.

    Args:
        settings: Where it is.
        run_id: The run, which has a report.

    Raises:
        InputError: Its figures are gone, damaged, or of a version that wrote others.
    """
    store = metadata.open_store(settings.metadata_path)
    outputs = metadata.run_outputs(store, run_id) if store else {}
    report = outputs.get("EvaluationReport.report")
    facts = _facts(Path(report.artifact.uri, FIGURES)) if report else None
    if facts is None:
        raise InputError(
            f"The figures of the run {run_id} are gone: run its settings again (catsdogs run --config "
            f"{settings.runs_dir / run_id / 'settings.yaml'}), and compare what that gives."
        )
    predictions = outputs.get("PredictionTable.predictions")
    there = predictions and Path(predictions.artifact.uri, prediction_table.METADATA_FILE).is_file()
    return Side(
        run_id,
        facts,
        prediction_table.read(predictions.artifact.uri) if predictions and there else None,
    )


def _facts(figures: Path) -> dict[str, Any] | None:
    """Returns what `report.json` holds; None where it cannot be compared."""
    try:
        facts = json.loads(figures.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return facts if isinstance(facts, dict) and facts.keys() >= _NEEDED else None


def write(settings: Settings, first: Side, second: Side) -> Path:
    """Writes the page into the folder of the second run, whole or not at all, and returns where it is."""
    page = settings.runs_dir / second.run / f"compared-with-{first.run}.html"
    beside = page.with_name(f"{page.name}.part")
    comparison.write_page(first, second, beside)
    beside.rename(page)
    return page


def table(first: Side, second: Side) -> Table:
    """Returns verdicts, figures, and the settings that differ."""
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for heading in ("", first.run, second.run):
        made.add_column(heading, overflow="fold")
    sides = (first, second)
    made.add_row("Verdict", *(_verdict(one) for one in sides))
    made.add_row("Test pictures", *(f"{one.facts['pictures']:,}" for one in sides))
    for name in [row["name"] for row in second.facts["headline"]]:
        made.add_row(formatting.figure_name(name), *(_figure(one, name) for one in sides))
    for name, before, after in comparison.differences(first.facts["settings"], second.facts["settings"]):
        made.add_row(Text(name), Text(before), Text(after))
    return made


def sentences(first: Side, second: Side) -> list[str]:
    """Returns what the pictures that both judged say, and why each model was blessed or not."""
    told = [
        f"{one.run}: {one.facts['verdict']['sentence']}" for one in (first, second) if one.facts["verdict"]
    ]
    return [_paired(first, second), *told]


def _paired(first: Side, second: Side) -> str:
    found = comparison.pair(first, second)
    if found is None:
        return (
            "They cannot be compared picture by picture: they have no test picture in common, or a "
            "prediction table is gone."
        )
    difference = found.figures["difference"]
    low, value, high = (difference[end] for end in ("low", "value", "high"))
    better = second.run if low > 0 else first.run if high < 0 else None
    return (
        f"On the {found.pictures:,} pictures that both judged, {second.run} gets "
        f"{found.figures['only_candidate_right']:,} right that {first.run} gets wrong, and "
        f"{found.figures['only_baseline_right']:,} the other way round: {formatting.points(value)} points of "
        f"accuracy ({formatting.points(low)} to {formatting.points(high)}). "
        + (f"Chance does not explain that: {better} is better." if better else "Chance explains that.")
        + (f" {_left_out(found.relabelled)}" if found.relabelled else "")
    )


def _left_out(relabelled: int) -> str:
    if relabelled == 1:
        return "One more picture is left out, because its label differs between the two."
    return f"{relabelled:,} more pictures are left out, because their labels differ between the two."


def _verdict(one: Side) -> Text:
    verdict = one.facts["verdict"]
    if verdict is None:
        return Text(_NOTHING)
    if verdict["override"] and verdict["override"]["applied"]:
        return Text("overridden", "magenta")
    return Text("blessed", "green") if verdict["blessed"] else Text("refused", "yellow")


def _figure(one: Side, name: str) -> str:
    found = next((row["candidate"] for row in one.facts["headline"] if row["name"] == name), None)
    return f"{formatting.figure(found, name)} ({formatting.interval(found, name)})" if found else _NOTHING
