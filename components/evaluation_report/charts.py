"""The charts of the report, each drawn from its facts alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from components.evaluation_report.json_values import Facts
from components.evaluation_report.svg import FIRST, INK, PAPER, SECOND, SOFT, THIRD

_SPANS = (0.02, 0.05, 0.1, 0.2, 0.5)  # parts of the unit square that are worth a zoom
_STEPS = (1, 2, 5, 10)  # between ticks
_ROOM = 3  # how many times the largest error is shown
_SHARES = FuncFormatter(lambda value, _: f"{100 * value:g}")
_SPLIT_COLOURS = {"train": FIRST, "eval": SECOND, "test": THIRD}


@dataclass(frozen=True)
class ModelCurves:
    """A model in a chart.

    Attributes:
        name: In the legend.
        curves: As `prediction_facts.curves` returned them.
        colour: One of `svg`'s.
        dashes: Matplotlib's line style, so that colour is not all that tells the models apart.
    """

    name: str
    curves: Mapping[str, Any]
    colour: str = FIRST
    dashes: str = "-"


def second(name: str, curves: Mapping[str, Any]) -> ModelCurves:
    """Returns the model that another one is compared with."""
    return ModelCurves(name, curves, SECOND, "--")


def learning(axes: Axes, histories: Sequence[tuple[str, Facts]], metric: str, label: str) -> str:
    """Draws a metric on `train` and on `eval` over the epochs of both phases, with the kept epoch marked.

    Args:
        axes: To draw on.
        histories: Name and `history.json` of one run, or of two.
        metric: `loss` or `accuracy`.
        label: What it is called.
    """
    for (run, history), colour in zip(histories, (FIRST, SECOND), strict=False):
        _phases(axes, history, metric, colour, run)
    axes.set_xlabel("epoch")
    axes.margins(y=0.12)
    last = max(sum(len(phase["epochs"]) for phase in history["phases"]) for _, history in histories)
    axes.set_xlim(0.5, max(1, last) + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(10, integer=True, steps=_STEPS, min_n_ticks=1))
    return f"{label} by epoch; the figures are in the table below"


def _phases(axes: Axes, history: Facts, metric: str, colour: str, run: str) -> None:
    epochs = [(phase["name"], epoch) for phase in history["phases"] for epoch in phase["epochs"]]
    kept = history.get("kept") or {}

    def values(name: str) -> list[float]:
        return [math.nan if epoch.get(name) is None else epoch[name] for _, epoch in epochs]

    numbers, single = range(1, len(epochs) + 1), "o" if len(epochs) == 1 else ""
    evaluated = values(f"val_{metric}")
    for points, style, where in ((values(metric), ":", "train"), (evaluated, "-", "eval")):
        axes.plot(numbers, points, style, marker=single, color=colour, label=_labelled(run, where))
    for number, (phase, epoch) in zip(numbers, epochs, strict=True):
        if colour == FIRST and number > 1 and phase != epochs[number - 2][0]:
            axes.axvline(number - 0.5, color=SOFT, linewidth=0.8, linestyle=":")
        if (phase, epoch["epoch"]) == (kept.get("phase"), kept.get("epoch")):
            axes.plot(
                number, evaluated[number - 1], "o", color=colour, markersize=8, markeredgecolor=PAPER,
                label=_labelled(run, "kept epoch"),
            )  # fmt: skip


def _labelled(run: str, what: str) -> str:
    """Returns what the legend says: of two runs only which is which, else it would not fit."""
    if not run:
        return what
    return run if what == "eval" else "_"  # Matplotlib leaves out what starts with an underscore


def roc(axes: Axes, models: Sequence[ModelCurves], class_name: str) -> str:
    """Draws the corner of the ROC curves that matters, and the whole square in small."""
    span = _span([1 - y + x for model in models for x, y in [_nearest(model.curves["roc"], 0.0)]])
    for drawn in _with_inset(axes, span, (0.0, span), (0.5, 0.13, 0.42, 0.42)):
        for model in models:
            curve = model.curves["roc"]
            drawn.plot(
                curve["x"], curve["y"], model.dashes, color=model.colour, label=model.name,
                drawstyle="steps-post",
            )  # fmt: skip
    axes.set_xlabel(f"others taken for {class_name}, %")
    axes.set_ylabel(f"{class_name} found, %")
    return f"ROC curve: {class_name} found over others taken for it"


def precision_recall(axes: Axes, models: Sequence[ModelCurves], class_name: str) -> str:
    """Draws the corner of the precision-recall curves that matters, and the whole square in small."""
    corners = [_nearest(model.curves["precision_recall"], 1.0) for model in models]
    span = _span([1 - x + 1 - y for x, y in corners])
    for drawn in _with_inset(axes, span, (1 - span, 1.0), (0.12, 0.13, 0.42, 0.42)):
        for model in models:
            curve = model.curves["precision_recall"]
            drawn.plot(curve["x"], curve["y"], model.dashes, color=model.colour, label=model.name)
    axes.set_xlabel(f"recall: {class_name} found, %")
    axes.set_ylabel(f"precision: really {class_name}, %")
    return f"Precision of {class_name} over its recall"


def calibration(axes: Axes, models: Sequence[ModelCurves], class_name: str) -> str:
    """Draws the share of the second class over its mean probability, with 95 % intervals and counts."""
    axes.plot([0, 1], [0, 1], color=SOFT, linewidth=0.9, linestyle=":")
    for model, marker in zip(models, "os", strict=False):
        buckets = [one for one in model.curves["calibration"] if one["share"]]
        x = [one["probability"] for one in buckets]
        y = [one["share"]["value"] for one in buckets]
        away = [
            [one["share"]["value"] - one["share"]["low"] for one in buckets],
            [one["share"]["high"] - one["share"]["value"] for one in buckets],
        ]
        axes.errorbar(
            x, y, yerr=away, fmt=marker, color=model.colour, markersize=4.5, elinewidth=1.2,
            label=model.name,
        )  # fmt: skip
    axes.set(xlim=(-0.04, 1.04), ylim=(-0.13, 1.04), yticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
    for bucket in models[0].curves["calibration"]:
        axes.text(
            bucket["probability"], -0.1, _brief(bucket["pictures"]), ha="center", fontsize=8, color=SOFT
        )
    axes.set_ylabel(f"really {class_name}, %")
    axes.set_xlabel(f"probability of {class_name}, %")
    axes.xaxis.set_major_formatter(_SHARES)
    axes.yaxis.set_major_formatter(_SHARES)
    return f"Share of {class_name} over the probability that the model gave"


def distribution(axes: Axes, facts: Facts) -> str:
    """Draws how a property of the pictures is distributed in every split, as shares of the split."""
    for split in facts["splits"]:
        colour = _SPLIT_COLOURS.get(split["split"], INK)
        shares = np.array(split["pictures"], float) / (sum(split["pictures"]) or 1)
        widths = np.diff(np.array(split["edges"], float))
        density = np.divide(shares, widths, out=np.zeros_like(shares), where=widths > 0)
        axes.stairs(density, split["edges"], color=colour, linewidth=1.6, label=split["split"])
    axes.set_xlabel(facts["label"].lower().replace(", bytes", ", kB"))
    if "bytes" in facts["label"]:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:.10g}"))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
    return f"{facts['label']}: distribution in every split"


def drawable(curve: Facts) -> bool:
    """Returns whether a curve has any points."""
    return bool(curve["x"])


def _with_inset(
    axes: Axes, span: float, across: tuple[float, float], place: tuple[float, float, float, float]
) -> list[Axes]:
    """Sets the axes to the corner; returns them, and the whole square in small where that is more."""
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


def _nearest(curve: Facts, ideal_x: float) -> tuple[float, float]:
    """Returns the point nearest to the ideal corner; the corner itself where there is no curve."""
    points = zip(curve["x"], curve["y"], strict=True)
    return min(points, key=lambda point: abs(point[0] - ideal_x) + 1 - point[1], default=(ideal_x, 1.0))


def _span(errors: Sequence[float]) -> float:
    """Returns the side of the corner to show: small enough to see something, large enough for all of it."""
    needed = _ROOM * max(errors, default=0.0)
    return next((span for span in _SPANS if span >= needed), 1.0)


def _brief(pictures: int) -> str:
    return str(pictures) if pictures < 10_000 else f"{pictures / 1000:.0f}k"
