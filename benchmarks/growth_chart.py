"""Draws the measurements of `benchmarks.growth`: processor time per image and peak memory of each step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from benchmarks.compare_chart import STYLE
from benchmarks.growth_table import step_series
from benchmarks.measurements import Measurement


def draw(local: Sequence[Measurement], trainer: Sequence[Measurement], path: Path) -> None:
    """Draws both against the number of images.

    Args:
        local: As in `growth_table.step_series`.
        trainer: As in `growth_table.step_series`.
        path: The SVG file to write.
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.6), layout="constrained")
        time_axes, memory_axes = figure.subplots(1, 2)
        for series in step_series(local, trainer):
            time_axes.plot(series.counts, series.cpu_ms, marker="o", label=series.step)
            memory_axes.plot(series.counts, series.memory_mb, marker="o")
        counts = [run.train_images for run in local]
        for axes in (time_axes, memory_axes):
            axes.set(xscale="log", xlabel="images")
            axes.set_xticks(counts, [f"{count:,}" for count in counts], minor=False)
            axes.minorticks_off()
            axes.grid(alpha=0.3)
        time_axes.set(yscale="log", title="Processor time per image of the step's splits, ms")
        memory_axes.set(title="Peak memory, MB", ylim=(0, None))
        figure.legend(loc="outside lower center", ncols=3, frameon=False)
        FigureCanvasSVG(figure).print_svg(str(path), metadata={"Date": None, "Creator": None})
