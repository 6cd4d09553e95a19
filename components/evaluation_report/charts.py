"""Draws the charts of the report with Matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from components.evaluation_report.json_values import JsonObject
from components.evaluation_report.svg import FIRST, INK, PAPER, SECOND, SOFT, THIRD

_SPANS = (0.02, 0.05, 0.1, 0.2, 0.5)  # zoom levels, as sides of the corner shown
_STEPS = (1, 2, 5, 10)  # between ticks
_ROOM = 3  # axis range as a multiple of the largest error
_SHARES = FuncFormatter(lambda value, _: f"{100 * value:g}")
_SPLIT_COLOURS = {"train": FIRST, "eval": SECOND, "test": THIRD}


@dataclass(frozen=True)
class ModelCurves:
    """The curves of a model in a chart.

    Attributes:
        name: Legend entry.
        curves: Result of `prediction_metrics.curves`.
        colour: A colour of `svg`.
        dashes: Matplotlib line style, so that models are distinguishable without colour.
    """

    name: str
    curves: Mapping[str, Any]
    colour: str = FIRST
    dashes: str = "-"


def baseline_curves(name: str, curves: Mapping[str, Any]) -> ModelCurves:
    """Returns the curves of a second model, in the second colour and dashed."""
    return ModelCurves(name, curves, SECOND, "--")


def learning(axes: Axes, histories: Sequence[tuple[str, JsonObject]], metric: str, label: str) -> str:
    """Draws a metric on `train` and `eval` over the epochs of both phases and marks the best epoch.

    Args:
        axes: Axes to draw on.
        histories: Name and `history.json` of one or two runs.
        metric: `loss` or `accuracy`.
        label: Display name of the metric.
    """
    for (run, history), colour in zip(histories, (FIRST, SECOND), strict=False):
        _phases(axes, history, metric, colour, run)
    axes.set_xlabel("epoch")
    axes.margins(y=0.12)
    last = max(sum(len(phase["epochs"]) for phase in history["phases"]) for _, history in histories)
    axes.set_xlim(0.5, max(1, last) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=_STEPS, min_n_ticks=1))
    return f"{label} by epoch; the values are in the table below"


def _phases(axes: Axes, history: JsonObject, metric: str, colour: str, run: str) -> None:
    epochs = [(phase["name"], epoch) for phase in history["phases"] for epoch in phase["epochs"]]
    kept = history.get("kept") or {}

    def values(name: str) -> list[float]:
        return [math.nan if epoch.get(name) is None else epoch[name] for _, epoch in epochs]

    numbers, single = range(1, len(epochs) + 1), "o" if len(epochs) == 1 else ""
    evaluated = values(f"val_{metric}")
    for points, style, where in ((values(metric), ":", "train"), (evaluated, "-", "eval")):
        axes.plot(numbers, points, style, marker=single, color=colour, label=_legend_entry(run, where))
    for number, (phase, epoch) in zip(numbers, epochs, strict=True):
        if colour == FIRST and number > 1 and phase != epochs[number - 2][0]:
            axes.axvline(number - 0.5, color=SOFT, linewidth=0.8, linestyle=":")
        if (phase, epoch["epoch"]) == (kept.get("phase"), kept.get("epoch")):
            axes.plot(
                number, evaluated[number - 1], "o", color=colour, markersize=8, markeredgecolor=PAPER,
                label=_legend_entry(run, "best epoch"),
            )  # fmt: skip


def _legend_entry(run: str, what: str) -> str:
    """Returns a legend entry; with two runs, only one entry per run."""
    if not run:
        return what
    return run if what == "eval" else "_"  # Matplotlib hides entries that start with an underscore


def roc(axes: Axes, models: Sequence[ModelCurves], class_name: str) -> str:
    """Draws the upper left corner of the ROC curves, with the full range as an inset."""
    span = _span([1 - y + x for model in models for x, y in [_nearest(model.curves["roc"], 0.0)]])
    for drawn in _with_inset(axes, span, (0.0, span), (0.5, 0.13, 0.42, 0.42)):
        for model in models:
            curve = model.curves["roc"]
            drawn.plot(
                curve["x"], curve["y"], model.dashes, color=model.colour, label=model.name,
                drawstyle="steps-post",
            )  # fmt: skip
    axes.set_xlabel("false positive rate, %")
    axes.set_ylabel("true positive rate, %")
    return f"ROC curve for {class_name}: true positive rate by false positive rate"


def precision_recall(axes: Axes, models: Sequence[ModelCurves], class_name: str) -> str:
    """Draws the upper right corner of the precision-recall curves, with the full range as an inset."""
    corners = [_nearest(model.curves["precision_recall"], 1.0) for model in models]
    span = _span([1 - x + 1 - y for x, y in corners])
    for drawn in _with_inset(axes, span, (1 - span, 1.0), (0.12, 0.13, 0.42, 0.42)):
        for model in models:
            curve = model.curves["precision_recall"]
            drawn.plot(curve["x"], curve["y"], model.dashes, color=model.colour, label=model.name)
    axes.set_xlabel(f"recall of {class_name}, %")
    axes.set_ylabel(f"precision of {class_name}, %")
    return f"Precision of {class_name} by recall"


def calibration(axes: Axes, models: Sequence[ModelCurves], class_name: str) -> str:
    """Draws the observed share of the second class by mean probability, with 95 % intervals and counts."""
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=":")
    for model, marker in zip(models, "os", strict=False):
        buckets = [one for one in model.curves["calibration"] if one["share"]]
        x = [one["probability"] for one in buckets]
        y = [one["share"]["value"] for one in buckets]
        error_bars = [
            [one["share"]["value"] - one["share"]["low"] for one in buckets],
            [one["share"]["high"] - one["share"]["value"] for one in buckets],
        ]
        axes.errorbar(
            x, y, yerr=error_bars, fmt=marker, color=model.colour, markersize=4.5, elinewidth=1.2,
            label=model.name,
        )  # fmt: skip
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.13, 1.04), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    for bucket in models[0].curves["calibration"]:
        axes.text(
            bucket["probability"], -0.1, _short_count(bucket["pictures"]), ha="center", fontsize=8, color=SOFT
        )
    axes.set_ylabel(f"observed share of {class_name}, %")
    axes.set_xlabel(f"predicted probability of {class_name}, %")
    axes.xaxis.set_major_formatter(_SHARES)
    axes.yaxis.set_major_formatter(_SHARES)
    return f"Observed share of {class_name} by predicted probability"


def distribution(axes: Axes, report: JsonObject) -> str:
    """Draws the density of an image property in each split."""
    for split in report["splits"]:
        colour = _SPLIT_COLOURS.get(split["split"], INK)
        shares = np.array(split["pictures"], float) / (sum(split["pictures"]) or 1)
        widths = np.diff(np.array(split["edges"], float))
        density = np.divide(shares, widths, out=np.zeros_like(shares), where=widths > 0)
        axes.stairs(density, split["edges"], color=colour, linewidth=1.6, label=split["split"])
    axes.set_xlabel(report["label"].lower().replace(", bytes", ", kB"))
    if "bytes" in report["label"]:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:.10g}"))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
    return f"{report['label']}: distribution in each split"


def has_points(curve: JsonObject) -> bool:
    """Returns True if the curve has points."""
    return bool(curve["x"])


def _with_inset(
    axes: Axes, span: float, across: tuple[float, float], place: tuple[float, float, float, float]
) -> list[Axes]:
    """Zooms the axes to the corner; returns them and, if zoomed, an inset with the full range."""
    pad = 0.02 * span
    axes.set(xlim=(across[0] - pad, across[1] + pad), ylim=(1 - span - pad, 1 + pad))
    axes.xaxis.set_major_formatter(_SHARES)
    axes.yaxis.set_major_formatter(_SHARES)
    axes.xaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
    axes.yaxis.set_major_locator(MaxNLocator(5, steps=_STEPS))
    if span >= 1:
        return [axes]
    inset = axes.inset_axes(place)
    inset.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), xticks=[0, 1], yticks=[0, 1], facecolor=PAPER)
    inset.xaxis.set_major_formatter(_SHARES)
    inset.yaxis.set_major_formatter(_SHARES)
    inset.tick_params(labelsize=8, length=0)
    inset.grid(visible=False)
    inset.add_patch(_frame(across[0], 1 - span, span))
    return [axes, inset]


def _frame(x: float, y: float, span: float) -> Rectangle:
    return Rectangle((x, y), span, span, fill=False, edgecolor=SOFT, linewidth=0.8)


def _nearest(curve: JsonObject, ideal_x: float) -> tuple[float, float]:
    """Returns the point nearest to the ideal corner, or the corner itself for an empty curve."""
    points = zip(curve["x"], curve["y"], strict=True)
    return min(points, key=lambda point: abs(point[0] - ideal_x) + 1 - point[1], default=(ideal_x, 1.0))


def _span(errors: Sequence[float]) -> float:
    """Returns the smallest zoom level that leaves room around the largest error."""
    needed = _ROOM * max(errors, default=0.0)
    return next((span for span in _SPANS if span >= needed), 1.0)


def _short_count(images: int) -> str:
    return str(images) if images < 10_000 else f"{images / 1000:.0f}k"
