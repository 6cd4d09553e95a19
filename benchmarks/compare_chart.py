"""Draws the measurements of `benchmarks.compare`: the time of each part, and the accuracies."""

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
from benchmarks.measurements import Measurement
from components.model_metrics import proportion

# An opaque background, so that the chart is readable on light and dark pages.
STYLE: dict[Any, Any] = {
    "svg.hashsalt": "benchmark",
    "figure.facecolor": "white",
    "font.size": 9.5,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.axisbelow": True,
}
_TRAINING_COLOURS = {"frozen": "#8d3b1f", "fine-tuning": "#c8703f", "Trainer": "#1f5f8d"}
_OTHER_COLOURS = ("#9fb6c6", "#c3d2dc")  # alternating
_MIN_LABELLED_SHARE = 0.06  # of the longer bar; a shorter part has no room for its label
_MIN_SHOWN_SHARE = 0.01  # of the whole run; shorter steps share a bar


def draw(measurements: Sequence[Measurement], path: Path) -> None:
    """Draws the times of both sides, the times of the pipeline's steps, and accuracies with 95 % intervals.

    Args:
        measurements: Runs of both sides.
        path: The SVG file to write.
    """
    sides = [[run for run in measurements if run.name == name] for name in (TUTORIAL, PIPELINE)]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 5.6), layout="constrained")
        axes = figure.subplot_mosaic([["times", "accuracies"], ["parts", "accuracies"]],
                                     width_ratios=[2.4, 1], height_ratios=[1, 1.6])  # fmt: skip
        _draw_times(axes["times"], sides)
        _draw_parts(axes["parts"], sides[1])
        _draw_accuracies(axes["accuracies"], sides)
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None, "Creator": None})


def _draw_times(axes: Axes, sides: Sequence[Sequence[Measurement]]) -> None:
    longest = max(statistics.mean(run.seconds for run in runs) for runs in sides)
    for y, runs in enumerate(sides):
        end = 0.0
        for index, part in enumerate(runs[0].parts):
            seconds = statistics.mean(run.parts[part] for run in runs)
            colour = _TRAINING_COLOURS.get(part, _OTHER_COLOURS[index % len(_OTHER_COLOURS)])
            ink = "white" if part in _TRAINING_COLOURS else "black"
            axes.barh(y, seconds, left=end, height=0.5, color=colour)
            if seconds >= _MIN_LABELLED_SHARE * longest:
                label = f"{part}\n{seconds:.0f} s"
                axes.text(end + seconds / 2, y, label, ha="center", va="center", color=ink, fontsize=8)
            end += seconds
        axes.text(end + 0.01 * longest, y, f"{end:.0f} s", va="center", fontweight="bold")
    axes.set_yticks(range(len(sides)), [runs[0].name for runs in sides])
    axes.set(title="From the first import to the model, seconds", xlim=(0, 1.12 * longest), ylim=(1.6, -0.6))
    axes.grid(axis="x", alpha=0.3)


def _draw_parts(axes: Axes, runs: Sequence[Measurement]) -> None:
    means = {part: statistics.mean(run.parts[part] for run in runs) for part in runs[0].parts}
    shortest = _MIN_SHOWN_SHARE * sum(means.values())
    bars = {part: seconds for part, seconds in means.items() if seconds >= shortest}
    short = [seconds for seconds in means.values() if seconds < shortest]
    if short:
        bars[f"{len(short)} shorter ones"] = sum(short)
    colours = [_TRAINING_COLOURS.get(part, _OTHER_COLOURS[0]) for part in bars]
    container = axes.barh(list(bars), list(bars.values()), height=0.6, color=colours)
    axes.bar_label(container, fmt="%.1f", padding=3, fontsize=8)
    axes.set(title=f"Time of each part of {PIPELINE}, seconds")
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.grid(axis="x", alpha=0.3)


def _draw_accuracies(axes: Axes, sides: Sequence[Sequence[Measurement]]) -> None:
    for side, runs in enumerate(sides):
        for index, (run, value) in enumerate(zip(runs, accuracies(runs), strict=True)):
            estimate = proportion(round(value * run.test_images), run.test_images)
            x = side + 0.12 * (index - (len(runs) - 1) / 2)
            errors = [[100 * (value - estimate.low)], [100 * (estimate.high - value)]]
            colour = _TRAINING_COLOURS["frozen" if side == 0 else "Trainer"]
            axes.errorbar(x, 100 * value, yerr=errors, fmt="o", color=colour, markersize=5, elinewidth=1.2)
    axes.set_xticks(range(len(sides)), [runs[0].name.replace(" ", "\n") for runs in sides])
    axes.set(title="Accuracy of each model, %\n(95 % intervals)", xlim=(-0.6, len(sides) - 0.4))
    axes.grid(axis="y", alpha=0.3)
