"""The charts of the report, each drawn from its facts alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from components.evaluation_report.json_values import Facts
from components.evaluation_report.svg import FIRST, INK, PAPER, SECOND, SOFT, THIRD, charted

_SPANS = (0.02, 0.05, 0.1, 0.2, 0.5)  # parts of the unit square that are worth a zoom
_STEPS = (1, 2, 5, 10)  # between ticks
_ROOM = 3  # how many times the largest error is shown
_SHARES = FuncFormatter(lambda value, _: f"{100 * value:g}")
_SPLIT_COLOURS = {"train": FIRST, "eval": SECOND, "test": THIRD}


@dataclass(frozen=True)
class Model:
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


def second(name: str, curves: Mapping[str, Any]) -> Model:
    """Returns the model that another one is compared with."""
    return Model(name, curves, SECOND, "--")


def learning(name: str, histories: Sequence[tuple[str, Facts]], metric: str, label: str) -> Markup:
    """Draws a metric on `train` and on `eval` over the epochs of both phases, with the kept epoch marked.

    Args:
        name: For the ids.
        histories: Name and `history.json` of one run, or of two.
        metric: `loss` or `accuracy`.
        label: What it is called.
    """
    with charted(name, f"{label} by epoch; the figures are in the table below") as chart:
        axes = chart.figure.subplots()
        for (run, history), colour in zip(histories, (FIRST, SECOND), strict=False):
            _phases(axes, history, metric, colour, run)
        axes.set_xlabel("epoch")
        axes.margins(y=0.12)
        last = max(_epochs(history) for _, history in histories)
        ticks = _whole_ticks(last)
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.set_xlim(0.5, max(1, last) + 0.5)
        _legend(chart.figure, axes)
    return chart.svg


def _epochs(history: Facts) -> int:
    return sum(len(phase["epochs"]) for phase in history["phases"])


def _whole_ticks(last: int) -> list[int]:
    """Returns at most ten epochs to name on the axis, from the first one or from one step on."""
    scale = 10 ** max(0, len(str(last)) - 2)
    step = next(scale * step for step in (*_STEPS, 20, 50, 100) if last <= 10 * scale * step)
    return list(range(step, max(1, last) + 1, step))


def _phases(axes: Axes, history: Facts, metric: str, colour: str, run: str) -> None:
    kept, before = history.get("kept") or {}, 0
    train, evaluated, marked = [], [], None
    for phase in history["phases"]:
        epochs = phase["epochs"]
        numbers = [before + place + 1 for place in range(len(epochs))]
        train += list(zip(numbers, (one.get(metric) for one in epochs), strict=True))
        evaluated += list(zip(numbers, (one.get(f"val_{metric}") for one in epochs), strict=True))
        for number, epoch in zip(numbers, epochs, strict=True):
            if phase["name"] == kept.get("phase") and epoch["epoch"] == kept.get("epoch"):
                marked = number, epoch.get(f"val_{metric}")
        if before and epochs and colour == FIRST:
            axes.axvline(before + 0.5, color=SOFT, linewidth=0.8, linestyle=":")
        before += len(epochs)
    single = "o" if before == 1 else ""
    for points, style, where in ((train, ":", "train"), (evaluated, "-", "eval")):
        shown = [point for point in points if point[1] is not None]
        axes.plot(*_columns(shown), style, marker=single, color=colour, label=_labelled(run, where))
    if marked and marked[1] is not None:
        axes.plot(
            *_columns([marked]), "o", color=colour, markersize=8, markeredgecolor=PAPER,
            label=_labelled(run, "kept epoch"),
        )  # fmt: skip


def _labelled(run: str, what: str) -> str:
    """Returns what the legend says: of two runs only which is which, else it would not fit."""
    if not run:
        return what
    return run if what == "eval" else "_"  # Matplotlib leaves out what starts with an underscore


def roc(name: str, models: Sequence[Model], class_name: str) -> Markup:
    """Draws the corner of the ROC curves that matters, and the whole square in small."""
    span = _span([1 - y + x for model in models for x, y in [_nearest(model.curves["roc"], 0.0)]])
    with charted(name, f"ROC curve: {class_name} found over others taken for it") as chart:
        axes = chart.figure.subplots()
        for drawn in _with_inset(axes, span, (0.0, span), (0.5, 0.13, 0.42, 0.42)):
            for model in models:
                curve = model.curves["roc"]
                drawn.plot(
                    curve["x"], curve["y"], model.dashes, color=model.colour, label=model.name,
                    drawstyle="steps-post",
                )  # fmt: skip
        axes.set_xlabel(f"others taken for {class_name}, %")
        axes.set_ylabel(f"{class_name} found, %")
        _legend(chart.figure, axes, len(models) > 1)
    return chart.svg


def precision_recall(name: str, models: Sequence[Model], class_name: str) -> Markup:
    """Draws the corner of the precision-recall curves that matters, and the whole square in small."""
    corners = [_nearest(model.curves["precision_recall"], 1.0) for model in models]
    span = _span([1 - x + 1 - y for x, y in corners])
    with charted(name, f"Precision of {class_name} over its recall") as chart:
        axes = chart.figure.subplots()
        for drawn in _with_inset(axes, span, (1 - span, 1.0), (0.12, 0.13, 0.42, 0.42)):
            for model in models:
                curve = model.curves["precision_recall"]
                drawn.plot(curve["x"], curve["y"], model.dashes, color=model.colour, label=model.name)
        axes.set_xlabel(f"recall: {class_name} found, %")
        axes.set_ylabel(f"precision: really {class_name}, %")
        _legend(chart.figure, axes, len(models) > 1)
    return chart.svg


def calibration(name: str, models: Sequence[Model], class_name: str) -> Markup:
    """Draws the share of the second class over its mean probability, with 95 % intervals and counts."""
    with charted(name, f"Share of {class_name} over the probability that the model gave") as chart:
        axes = chart.figure.subplots()
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
        _legend(chart.figure, axes, len(models) > 1)
    return chart.svg


def distribution(name: str, facts: Facts) -> Markup:
    """Draws how a property of the pictures is distributed in every split, as shares of the split."""
    with charted(name, f"{facts['label']}: distribution in every split") as chart:
        axes = chart.figure.subplots()
        for split in facts["splits"]:
            total = sum(split["pictures"]) or 1
            colour = _SPLIT_COLOURS.get(split["split"], INK)
            low, high = split["edges"][:-1], split["edges"][1:]
            widths = [right - left for left, right in zip(low, high, strict=True)]
            density = [
                count / total / width if width else 0.0
                for count, width in zip(split["pictures"], widths, strict=True)
            ]
            axes.stairs(density, split["edges"], color=colour, linewidth=1.6, label=split["split"])
        axes.set_xlabel(facts["label"].lower().replace(", bytes", ", kB"))
        if "bytes" in facts["label"]:
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value / 1000:.10g}"))
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=_STEPS))
        _legend(chart.figure, axes)
    return chart.svg


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


def _columns(points: Sequence[tuple[Any, ...]]) -> tuple[list[Any], list[Any]]:
    return [point[0] for point in points], [point[1] for point in points]


def _legend(figure: Any, axes: Axes, wanted: bool = True) -> None:
    """Puts the legend above the chart, where it covers nothing."""
    handles, labels = axes.get_legend_handles_labels()
    if wanted and handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=3, handlelength=1.8, columnspacing=1.2)
