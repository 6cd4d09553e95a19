"""Formats the measurements of `benchmarks.growth` as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks import machine
from benchmarks.measurements import Measurement

FEATURE_PASS = "Trainer's feature pass"
MAX_GROWTH = 0.25  # larger growth is marked

_ALL, _TRAINING, _TEST = "all", "train and eval", "test"
# Each step and the splits that it processes.
_SPLITS = {
    "ImageExampleGen": _ALL,
    "StatisticsGen": _ALL,
    "Transform": _TRAINING,
    FEATURE_PASS: _TRAINING,
    "PredictionTable": _TEST,
    "Evaluator": _TEST,
}


@dataclass(frozen=True)
class StepSeries:
    """The measurements of one step with growing numbers of images.

    Attributes:
        step: Name of the step.
        counts: Number of images of each run, in ascending order.
        images: Number of images that the step itself processed, by run.
        cpu_seconds: Processor time, by run.
        memory_mb: Peak memory, by run.
    """

    step: str
    counts: list[int]
    images: list[int]
    cpu_seconds: list[float]
    memory_mb: list[float]

    @property
    def cpu_ms(self) -> list[float]:
        """Processor time per image in milliseconds, by run."""
        return [1000 * cpu / images for cpu, images in zip(self.cpu_seconds, self.images, strict=True)]

    @property
    def small(self) -> int:
        """Position of the run that the last one is compared with: the largest of at most a tenth as many."""
        fitting = [index for index, count in enumerate(self.counts) if 10 * count <= self.counts[-1]]
        return fitting[-1] if fitting else 0

    @property
    def fixed_and_marginal(self) -> tuple[float, float]:
        """Seconds that do not depend on the images, and milliseconds per further image.

        They are those of the line through the compared runs.
        """
        images, seconds = ([values[self.small], values[-1]] for values in (self.images, self.cpu_seconds))
        slope = (seconds[1] - seconds[0]) / max(images[1] - images[0], 1)
        return seconds[1] - slope * images[1], 1000 * slope


def step_series(local: Sequence[Measurement], trainer: Sequence[Measurement]) -> list[StepSeries]:
    """Returns the series of each step that was measured.

    Args:
        local: Runs of the Beam steps here, by ascending number of images.
        trainer: Runs of the Trainer, each with as many images as one of `local`.
    """
    test_images = {run.train_images: run.test_images for run in local}
    all_series = []
    for step in _SPLITS:
        runs = [run for run in (trainer if step == FEATURE_PASS else local) if step in run.cpu_seconds]
        if runs:
            all_series.append(
                StepSeries(
                    step,
                    [run.train_images for run in runs],
                    [_images(step, run.train_images, test_images[run.train_images]) for run in runs],
                    [run.cpu_seconds[step] for run in runs],
                    [run.peaks[step].memory.own for run in runs],
                )
            )
    return all_series


def table_lines(
    local: Sequence[Measurement],
    trainer: Sequence[Measurement],
    flink: Sequence[Measurement],
    this_machine: Mapping[str, str | int],
    overrides: Sequence[str],
) -> Iterator[str]:
    """Yields Markdown tables of processor time, memory, and Flink, in which too large growth is marked.

    Args:
        local: As in `step_series`.
        trainer: As in `step_series`.
        flink: Runs on Flink, which may be none.
        this_machine: The machine's description.
        overrides: The settings of all runs.
    """
    loads = [run.load for run in (*local, *trainer, *flink)]
    yield f"On {machine.format_machine(this_machine)}; load before the runs {min(loads)} to {max(loads)}."
    yield f"Settings: {', '.join(f'`{setting}`' for setting in overrides)}."
    yield ""
    all_series = step_series(local, trainer)
    counts = [run.train_images for run in local]
    heads = " | ".join(f"{count:,}" for count in counts)
    ruler = "|---|" + "---:|" * (len(counts) + 1)
    yield f"| CPU ms per image, with images: | of | {heads} | growth | fixed, s | per further image, ms |"
    yield f"|---{ruler}---:|---:|"
    for series in all_series:
        fixed, marginal = series.fixed_and_marginal
        cells = _cells(series, counts, series.cpu_ms, "{:.2f}")
        yield f"| {series.step} | {_SPLITS[series.step]} | {cells} | {fixed:.1f} | {marginal:.2f} |"
    yield ""
    yield f"| peak memory in MB, with images: | {heads} | growth |"
    yield ruler
    for series in all_series:
        yield f"| {series.step} | {_cells(series, counts, series.memory_mb, '{:,.0f}')} |"
    if trainer:
        yield ""
        yield f"Feature cache on disk: {' → '.join(f'{run.cache_mb:,.0f}' for run in trainer)} MB."
    if flink:
        yield ""
        yield from _flink_lines([run for run in local if run.train_images <= flink[-1].train_images], flink)


def _flink_lines(local: Sequence[Measurement], flink: Sequence[Measurement]) -> Iterator[str]:
    runs = sorted([*local, *flink], key=lambda run: run.train_images)
    yield f"| CPU s / s, with: | {' | '.join(run.name for run in runs)} |"
    yield "|---|" + "---:|" * len(runs)
    for step in _SPLITS:
        if step in flink[0].cpu_seconds:
            cells = (f"{run.cpu_seconds[step]:.1f} / {run.parts[step]:.1f}" for run in runs)
            yield f"| {step} | {' | '.join(cells)} |"


def _images(step: str, images: int, test_images: int) -> int:
    return {_ALL: images, _TRAINING: images - test_images, _TEST: test_images}[_SPLITS[step]]


def _cells(series: StepSeries, counts: Sequence[int], values: Sequence[float], form: str) -> str:
    """Returns the cells of a row: the value for each number of images, empty without one, and the growth."""
    by_count = dict(zip(series.counts, values, strict=True))
    cells = [form.format(by_count[count]) if count in by_count else "" for count in counts]
    growth = values[-1] / values[series.small] - 1
    text = f"{100 * growth:+.0f} %"
    return " | ".join([*cells, f"**{text}**" if growth > MAX_GROWTH else text])
