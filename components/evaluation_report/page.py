"""Renders the report of a run as a self-contained HTML page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import jinja2
import yaml
from markupsafe import Markup

from components.evaluation_report import charts, formatting
from components.evaluation_report.charts import ModelCurves
from components.evaluation_report.gallery import Thumbnail
from components.evaluation_report.json_values import JsonObject
from components.evaluation_report.svg import draw_chart_or_message

TEMPLATES = Path(__file__).with_name("templates")

_MAIN_SETTINGS = {
    "data": ("source", "folder", "class_names"),
    "training": ("backbone", "weights", "image_size", "frozen", "fine_tuning", "unfrozen_blocks", "seed"),
    "evaluation": ("min_accuracy", "min_slice_accuracy", "max_accuracy_loss", "missing_baseline"),
}
_POINTS = 12
_SLICE = "slice "
SLICES_SHOWN = 40  # maximum number of failed slice rules, and of other slice rules


def render(report: JsonObject, thumbnails: Mapping[str, Thumbnail]) -> str:
    """Returns the page.

    Args:
        report: The report data, as returned by `collect_report_data`.
        thumbnails: Thumbnails by image digest.
    """
    min_slice_accuracy = report["limits"].get("min_slice_accuracy")
    overall = next((row["candidate"] for row in report["headline"] if row["name"] == "accuracy"), None)
    return (
        environment()
        .get_template("report.html")
        .render(
            report=report,
            thumbnails=thumbnails,
            has_heatmaps=any(thumbnail.heatmap for thumbnail in thumbnails.values()),
            charts=_charts(report),
            compared_models=compared_models(report),
            rules=rules_to_show(report["verdict"]),
            min_slice_accuracy=min_slice_accuracy,
            overall=overall and overall["value"],
            slice_scale=_scale(report["slices"], min_slice_accuracy),
        )
    )


@cache
def environment() -> jinja2.Environment:
    """Returns the Jinja environment of the HTML pages, with autoescaping for untrusted file names."""
    new_environment = make_environment(autoescape=jinja2.select_autoescape(["html"]))
    new_environment.filters |= {
        "at": _at,
        "groupby_in_order": _group_in_order,
        "main_settings": _main_settings,
        "sample_points": _sample_points,
    }
    return new_environment


def make_environment(**options: Any) -> jinja2.Environment:
    """Returns a Jinja environment with the filters and globals that page and model card share."""
    new_environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,
    )
    new_environment.filters |= formatting.FILTERS
    new_environment.globals |= {
        "models": formatting.MODELS,
        "rule_states": formatting.RULE_STATES,
        "slice_names": formatting.SLICES,
        "inputs": formatting.INPUTS,
    }
    return new_environment


def compared_models(report: JsonObject) -> list[str]:
    """Returns `candidate` and the baselines it was compared with."""
    compared = [one["baseline"] for one in report["comparisons"] if one["state"] == "compared"]
    return ["candidate", *(name for name in compared if name in report["curves"])]


def rules_to_show(verdict: JsonObject | None) -> JsonObject:
    """Selects the rules to show, because a source may have any number of folders, each of them a slice.

    Args:
        verdict: The verdict in `report.json`; None means no rules.

    Returns:
        `highlighted`: failed rules, then passed rules that are not slice rules.
        `failed_left_out`: number of failed slices not shown.
        `collapsed`: slice rules that did not fail, closest to the minimum first.
        `slices`: number of slice rules that did not fail.
        `too_small`: number of these that are too small to evaluate.
    """
    rules = (verdict or {}).get("rules", [])
    slices = [rule for rule in rules if rule["name"].startswith(_SLICE)]
    slices.sort(
        key=lambda rule: (rule["state"] == "not judged", (rule["figure"] or 0) - (rule["bound"] or 0))
    )
    failed = [rule for rule in slices if rule["state"] == "failed"]
    others = [rule for rule in slices if rule["state"] != "failed"]
    highlighted = [rule for rule in rules if not rule["name"].startswith(_SLICE)] + failed[:SLICES_SHOWN]
    return {
        "highlighted": sorted(highlighted, key=lambda rule: bool(rule["state"] != "failed")),
        "failed_left_out": len(failed[SLICES_SHOWN:]),
        "collapsed": others[:SLICES_SHOWN],
        "slices": len(others),
        "too_small": sum(rule["state"] == "not judged" for rule in others),
    }


def _charts(report: JsonObject) -> JsonObject:
    _, second = report["class_names"]
    models = [ModelCurves("this model", report["curves"]["candidate"])]
    if "newest" in report["curves"]:
        models.append(charts.baseline_curves("last blessed", report["curves"]["newest"]))
    history = report["history"]
    return {
        "learning": learning([("", history)])
        if history and any(p["epochs"] for p in history["phases"])
        else [],
        "curves": curves(models, second) if report["pictures"] else [],
        "distributions": [
            (
                one["label"].split(",")[0],
                draw_chart_or_message(charts.distribution, f"distribution{place}", one),
            )
            for place, one in enumerate(report["data"]["distributions"])
            if any(split["edges"] for split in one["splits"])
        ],
    }


def learning(histories: Sequence[tuple[str, JsonObject]]) -> list[tuple[str, Markup]]:
    """Returns titles and charts of the learning curves of one or two runs."""
    return [
        (
            title,
            draw_chart_or_message(charts.learning, f"learning-{metric}", histories, metric, title.lower()),
        )
        for metric, title in (("loss", "Loss"), ("accuracy", "Accuracy"))
    ]


def curves(models: Sequence[ModelCurves], second: str) -> list[tuple[str, Markup, str]]:
    """Returns titles, charts and captions of ROC, precision-recall and calibration."""
    titled_charts = []
    if all(charts.has_points(model.curves["roc"]) for model in models):
        titled_charts += [
            (
                "ROC",
                draw_chart_or_message(charts.roc, "roc", models, second),
                "Closer to the upper left corner is better.",
            ),
            (
                "Precision–recall",
                draw_chart_or_message(charts.precision_recall, "precision-recall", models, second),
                "Closer to the upper right corner is better.",
            ),
        ]
    caption = "Points on the dotted line are perfectly calibrated. The numbers below are image counts."
    return [
        *titled_charts,
        ("Calibration", draw_chart_or_message(charts.calibration, "calibration", models, second), caption),
    ]


def _scale(slices: Sequence[JsonObject], min_slice_accuracy: float | None) -> tuple[float, float]:
    """Returns the limits of the slice axis, wide enough for the interval of every evaluated slice."""
    lows = [one["candidate"]["low"] for one in slices if one["judged"] and one["candidate"]]
    lowest = min([*lows, 0.9 if min_slice_accuracy is None else min_slice_accuracy])
    return (max(0.0, int(20 * lowest - 0.2) / 20), 1.0)


def _at(value: float | None, scale: tuple[float, float]) -> float:
    """Returns the position of a value on a scale in percent, clipped to 0 and 100."""
    start, end = scale
    if value is None:
        return 0.0
    return round(min(100.0, max(0.0, 100 * (value - start) / ((end - start) or 1))), 2)


def _group_in_order(rows: Iterable[JsonObject], key: str) -> list[tuple[Any, list[JsonObject]]]:
    """Groups adjacent rows by a key; unlike Jinja's `groupby`, keeps their order."""
    return [(value, list(group)) for value, group in groupby(rows, itemgetter(key))]


def _main_settings(text: str) -> Iterator[tuple[str, str]]:
    settings: JsonObject = yaml.safe_load(text) or {}
    for section, names in _MAIN_SETTINGS.items():
        for name in names:
            value = (settings.get(section) or {}).get(name)
            if value is None:
                continue
            if isinstance(value, dict):
                value = ", ".join(f"{key.replace('_', ' ')} {item}" for key, item in value.items())
            elif isinstance(value, list):
                value = ", ".join(map(str, value))
            yield f"{section}.{name}", str(value)


def _sample_points(curve: JsonObject) -> list[tuple[float, float, float]]:
    rows = list(zip(curve["thresholds"], curve["x"], curve["y"], strict=True))
    rows = [row for row in rows if row[0] is not None]
    step = max(1, -(-len(rows) // _POINTS))
    return rows[::step]
