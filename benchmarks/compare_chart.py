"""What `benchmarks.compare` has measured, as a chart: where the time goes, and how good the models are."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmarks.compare_table import PIPELINE, TUTORIAL, accuracies
from benchmarks.results import Measured
from components.model_metrics import proportion

# A ground and inks of its own, so that it is readable on a light page and on a dark one.
_STYLE: dict[Any, Any] = {
    "svg.hashsalt": "benchmark",
    "figure.facecolor": "white",
    "font.size": 9.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
}
_TRAINING = {"frozen": "#8d3b1f", "fine-tuning": "#c8703f", "Trainer": "#1f5f8d"}
_OTHERS = ("#9fb6c6", "#c3d2dc")  # in turn
_NAMED_FROM = 0.06  # of the longer bar; what is shorter has no room for its name
_SHOWN_FROM = 0.01  # of the whole run; shorter steps share a bar


def draw(measured: Sequence[Measured], path: Path) -> None:
    """Draws both sides' times, those of our components, and accuracies with 95 % intervals.

    Args:
        measured: Runs of both sides.
        path: Where the SVG goes.
    """
    sides = [[one for one in measured if one.what == what] for what in (TUTORIAL, PIPELINE)]
    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        axes = figure.subplot_mosaic([["times", "accuracies"], ["parts", "accuracies"]],
                                     width_ratios=[2.4, 1], height_ratios=[1, 1.6])  # fmt: skip
        _times(axes["times"], sides)
        _parts(axes["parts"], sides[1])
        _accuracies(axes["accuracies"], sides)
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None, "Creator": None})


def _times(axes: Axes, sides: Sequence[Sequence[Measured]]) -> None:
    longest = max(statistics.mean(one.seconds for one in runs) for runs in sides)
    for place, runs in enumerate(sides):
        end = 0.0
        for number, part in enumerate(runs[0].parts):
            seconds = statistics.mean(one.parts[part] for one in runs)
            colour = _TRAINING.get(part, _OTHERS[number % len(_OTHERS)])
            ink = "white" if part in _TRAINING else "black"
            axes.barh(place, seconds, left=end, height=0.5, color=colour)
            if seconds >= _NAMED_FROM * longest:
                label = f"{part}\n{seconds:.0f} s"
                axes.text(end + seconds / 2, place, label, ha="center", va="center", color=ink, fontsize=8)
            end += seconds
        axes.text(end + 0.01 * longest, place, f"{end:.0f} s", va="center", fontweight="bold")
    axes.set_yticks(range(len(sides)), [runs[0].what for runs in sides])
    axes.set(title="From the first import to the model, seconds", xlim=(0, 1.12 * longest), ylim=(1.6, -0.6))
    axes.grid(axis="x", alpha=0.3)


def _parts(axes: Axes, runs: Sequence[Measured]) -> None:
    means = {part: statistics.mean(one.parts[part] for one in runs) for part in runs[0].parts}
    least = _SHOWN_FROM * sum(means.values())
    shown = {part: seconds for part, seconds in means.items() if seconds >= least}
    short = [seconds for seconds in means.values() if seconds < least]
    if short:
        shown[f"{len(short)} shorter ones"] = sum(short)
    colours = [_TRAINING.get(part, _OTHERS[0]) for part in shown]
    bars = axes.barh(list(shown), list(shown.values()), height=0.6, color=colours)
    axes.bar_label(bars, fmt="%.1f", padding=3, fontsize=8)
    axes.set(title=f"Where the time of {PIPELINE} goes, seconds")
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.grid(axis="x", alpha=0.3)


def _accuracies(axes: Axes, sides: Sequence[Sequence[Measured]]) -> None:
    for place, runs in enumerate(sides):
        for number, (one, value) in enumerate(zip(runs, accuracies(runs), strict=True)):
            figure = proportion(round(value * one.pictures), one.pictures)
            x = place + 0.12 * (number - (len(runs) - 1) / 2)
            away = [[100 * (value - figure.low)], [100 * (figure.high - value)]]
            colour = _TRAINING["frozen" if place == 0 else "Trainer"]
            axes.errorbar(x, 100 * value, yerr=away, fmt="o", color=colour, markersize=5, elinewidth=1.2)
    axes.set_xticks(range(len(sides)), [runs[0].what.replace(" ", "\n") for runs in sides])
    axes.set(title="Accuracy of each model, %\n(95 % intervals)", xlim=(-0.6, len(sides) - 0.4))
    axes.grid(axis="y", alpha=0.3)
