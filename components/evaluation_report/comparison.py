"""Renders the HTML page of `catsdogs compare RUN RUN`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from components.evaluation_report import charts, page, prediction_metrics
from components.evaluation_report.charts import ModelCurves
from components.evaluation_report.json_values import JsonObject
from components.model_metrics import is_correct
from components.prediction_table.table import Predictions

_MAX_LISTED = 20  # images listed per model that only this model classifies correctly
_ABSENT = "–"


@dataclass(frozen=True)
class ComparedRun:
    """One of the two runs.

    Attributes:
        run_id: ID of the run.
        report: Content of its `report.json`.
        table: Its prediction table; None if it was deleted.
    """

    run_id: str
    report: JsonObject
    table: Predictions | None = None


@dataclass(frozen=True)
class DifferentImage:
    """An image that only one of the two models classifies correctly.

    Attributes:
        file: File name in the second run.
        true_class: Name of the true class.
        first: Probability of the true class from the first model.
        second: Probability of the true class from the second model.
    """

    file: str
    true_class: str
    first: float
    second: float


@dataclass(frozen=True)
class PairedComparison:
    """Paired comparison of two models on their common test images.

    Attributes:
        images: Number of common test images with the same label.
        totals: Number of test images of each run.
        relabelled: Number of common test images excluded because their label differs.
        metrics: The second model's accuracy minus the first one's, counts and p-value, as in `report.json`.
        only_first: Images that only the first model classifies correctly, largest difference first.
        only_second: Images that only the second model classifies correctly, in the same order.
    """

    images: int
    totals: tuple[int, int]
    relabelled: int
    metrics: JsonObject
    only_first: list[DifferentImage]
    only_second: list[DifferentImage]


def write_page(first: ComparedRun, second: ComparedRun, path: Path) -> None:
    """Writes the comparison as a self-contained HTML page.

    Args:
        first: The reference run, usually the older first_table.
        second: The run to compare with it.
        path: Path of the HTML file.
    """
    path.write_text(render(first, second), encoding="utf-8")


def render(first: ComparedRun, second: ComparedRun) -> str:
    """Returns the HTML page."""
    runs = (first, second)
    names = [row["name"] for row in second.report["headline"]]
    histories = [(run.run_id, run.report["history"]) for run in runs if run.report["history"]]
    same_classes = first.report["class_names"] == second.report["class_names"]
    has_curves = same_classes and all(run.report["pictures"] for run in runs)
    models = [ModelCurves(first.run_id, first.report["curves"]["candidate"])]
    models.append(charts.baseline_curves(second.run_id, second.report["curves"]["candidate"]))
    return (
        page.environment()
        .get_template("comparison.html")
        .render(
            runs=runs,
            metrics=[(name, [_headline(run, name) for run in runs]) for name in names],
            paired=pair(first, second),
            learning=page.learning(histories) if histories else [],
            curves=page.curves(models, second.report["class_names"][1]) if has_curves else [],
            settings=list(differences(first.report["settings"], second.report["settings"])),
            versions=list(_differing(first.report["versions"], second.report["versions"])),
        )
    )


def pair(first: ComparedRun, second: ComparedRun) -> PairedComparison | None:
    """Compares the models on the test images that both runs share, matched by digest, with the same label.

    Returns:
        The comparison; None if a prediction table is missing, the classes differ, or no such image exists.
    """
    first_table, second_table = first.table, second.table
    if first_table is None or second_table is None or first_table.class_names != second_table.class_names:
        return None
    first_rows = {digest: row for row, digest in enumerate(first_table.digests)}
    shared = {digest: row for row, digest in enumerate(second_table.digests) if digest in first_rows}
    common = {
        digest: row
        for digest, row in shared.items()
        if first_table.labels[first_rows[digest]] == second_table.labels[row]
    }
    if not common:
        return None
    in_first = np.array([first_rows[digest] for digest in common])
    in_second = np.array(list(common.values()))
    labels = second_table.labels[in_second]
    first_probabilities, second_probabilities = (
        first_table.probabilities[in_first],
        second_table.probabilities[in_second],
    )
    first_correct = is_correct(labels, first_probabilities)
    second_correct = is_correct(labels, second_probabilities)

    def list_images(mask: np.ndarray) -> list[DifferentImage]:
        rows = np.flatnonzero(mask)
        difference = np.abs(second_probabilities[rows] - first_probabilities[rows])
        largest = rows[np.argsort(-difference, kind="stable")][:_MAX_LISTED]
        return [
            DifferentImage(
                second_table.filenames[in_second[row]],
                second_table.class_names[labels[row]],
                *(
                    float(p[row] if labels[row] else 1 - p[row])
                    for p in (first_probabilities, second_probabilities)
                ),
            )
            for row in largest
        ]

    return PairedComparison(
        images=len(common),
        totals=(len(first_table.digests), len(second_table.digests)),
        relabelled=len(shared) - len(common),
        metrics=prediction_metrics.paired(labels, second_probabilities, first_probabilities),
        only_first=list_images(first_correct & ~second_correct),
        only_second=list_images(second_correct & ~first_correct),
    )


def differences(first: str, second: str) -> Iterator[tuple[str, str, str]]:
    """Yields the dotted name and both values of each setting that differs.

    Args:
        first: Resolved settings of the first run as YAML.
        second: Resolved settings of the second run as YAML.
    """
    yield from _differing(dict(_flat(yaml.safe_load(first) or {})), dict(_flat(yaml.safe_load(second) or {})))


def _differing(first: JsonObject, second: JsonObject) -> Iterator[tuple[str, str, str]]:
    for name in [*first, *(name for name in second if name not in first)]:
        values = [_ABSENT if name not in values else str(values[name]) for values in (first, second)]
        if values[0] != values[1]:
            yield name, values[0], values[1]


def _flat(settings: JsonObject, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _headline(run: ComparedRun, name: str) -> JsonObject | None:
    return next((row["candidate"] for row in run.report["headline"] if row["name"] == name), None)
