"""Formats the measurements of `benchmarks.compare` as Markdown: ratios, accuracy, time of each part."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from benchmarks import machine
from benchmarks.measurements import Measurement
from benchmarks.process_monitor import Memory
from components.model_metrics import proportion

TUTORIAL, PIPELINE = "tutorial's script", "catsdogs run"
TUTORIAL_EPOCHS = 10  # of each of its phases
TRAINER_RATIO, PIPELINE_RATIO, ACCURACY = 6, 3, 0.985  # the targets

_MIN_SHARE = 0.005  # the table omits parts that take less of the total time
_IMPORTS = "imports"
_ALL, _TRAIN, _TEST = "all", "train and eval", "test"
_IMAGES_OF_PART = {
    "ImageExampleGen": _ALL,
    "StatisticsGen": _ALL,
    "Transform": _TRAIN,
    "Trainer": _TRAIN,
    "PredictionTable": _TEST,
    "Evaluator": _TEST,
    "frozen": _TRAIN,
    "fine-tuning": _TRAIN,
}


class Ratio(NamedTuple):
    """The ratio of two durations.

    Attributes:
        value: Ratio of the means.
        low: The shortest numerator over the longest denominator.
        high: The longest numerator over the shortest denominator.
    """

    value: float
    low: float
    high: float


def ratio(numerator: Sequence[float], denominator: Sequence[float]) -> Ratio:
    """Returns the ratio of the mean durations, with its extremes."""
    return Ratio(
        statistics.mean(numerator) / statistics.mean(denominator),
        min(numerator) / max(denominator),
        max(numerator) / min(denominator),
    )


def trainer_ratio(tutorial: Sequence[Measurement], pipeline: Sequence[Measurement]) -> Ratio:
    """Returns the tutorial's time divided by the Trainer's, both without imports."""
    return ratio(
        [run.seconds - run.parts[_IMPORTS] for run in tutorial], [run.parts["Trainer"] for run in pipeline]
    )


def accuracies(measurements: Sequence[Measurement]) -> list[float]:
    """Returns the accuracy of each run's final model."""
    return [list(run.correct.values())[-1] / run.test_images for run in measurements]


def image_count(part: str, measurement: Measurement) -> int | None:
    """Returns the number of distinct images that a part processes; None if it does not process images."""
    all_images = measurement.train_images + measurement.test_images
    if part == measurement.name:
        return all_images
    counts = {_ALL: all_images, _TRAIN: measurement.train_images, _TEST: measurement.test_images}
    return counts.get(_IMAGES_OF_PART.get(part, ""))


def table_lines(
    measurements: Sequence[Measurement],
    this_machine: Mapping[str, str | int],
    overrides: Sequence[str],
    epochs: int,
) -> Iterator[str]:
    """Yields the lines of the tables.

    Args:
        measurements: Runs of both sides, in the order of measurement.
        this_machine: The machine's description.
        overrides: Settings of the pipeline's runs that differ from the defaults.
        epochs: Epochs of each of the tutorial's phases.
    """
    tutorial = [run for run in measurements if run.name == TUTORIAL]
    pipeline = [run for run in measurements if run.name == PIPELINE]
    counts = f"{pipeline[0].train_images:,} images to train on and {pipeline[0].test_images:,} to test on"
    load = f"load before the first process {measurements[0].load:.1f}"
    other = f"; epochs of each phase of the tutorial: {epochs} instead of {TUTORIAL_EPOCHS}"
    suffix = other if epochs != TUTORIAL_EPOCHS else ""
    yield f"On {machine.format_machine(this_machine)}; {counts}; {load}{suffix}."
    if overrides:
        yield f"Settings of `catsdogs run`: {', '.join(f'`{override}`' for override in overrides)}."
    yield ""
    yield from _target_lines(tutorial, pipeline)
    yield ""
    yield from _model_lines(measurements)
    yield ""
    yield "| part | seconds | share of total | images/s | memory, MB | resident, MB |"
    yield "|---|---:|---:|---:|---:|---:|"
    for runs in (tutorial, pipeline):
        yield from _part_lines(runs)


def _target_lines(tutorial: Sequence[Measurement], pipeline: Sequence[Measurement]) -> Iterator[str]:
    trainer = trainer_ratio(tutorial, pipeline)
    pipeline_ratio = ratio([run.seconds for run in tutorial], [run.seconds for run in pipeline])
    pipeline_accuracies = accuracies(pipeline)
    tutorial_accuracy = statistics.mean(accuracies(tutorial))
    of_seeds = f"mean of {len(pipeline)} seeds" if len(pipeline) > 1 else "one seed"
    mean = round(statistics.mean(pipeline_accuracies), 9)  # the mean of 0.985 three times must be 0.985
    yield "| | measured | target | |"
    yield "|---|---|---|---|"
    for name, measured, target in (
        ("Trainer: speed-up over the tutorial's script without its imports", trainer, TRAINER_RATIO),
        ("`catsdogs run`: speed-up over the tutorial's script", pipeline_ratio, PIPELINE_RATIO),
    ):
        times = f"{measured.value:.1f} ({measured.low:.1f} to {measured.high:.1f})"
        yield f"| {name} | {times} | {target} or more | {_format_target(measured.value >= target)} |"
    low, high = min(pipeline_accuracies), max(pipeline_accuracies)
    spread = f"{100 * mean:.2f} % ({100 * low:.1f} to {100 * high:.1f})"
    targets = f"the tutorial's {100 * tutorial_accuracy:.2f} %, and {100 * ACCURACY:.1f} %"
    is_met = mean >= max(tutorial_accuracy, ACCURACY)
    yield f"| accuracy, {of_seeds} | {spread} | {targets} | {_format_target(is_met)} |"
    pushed = sum(run.is_pushed for run in pipeline)
    is_met = pushed == len(pipeline)
    yield f"| models pushed | {pushed} of {len(pipeline)} | all | {_format_target(is_met)} |"


def _format_target(is_met: bool) -> str:
    return "met" if is_met else "**missed**"


def _model_lines(measurements: Sequence[Measurement]) -> Iterator[str]:
    yield "| model | seed | correct | accuracy, 95 % interval | seconds |"
    yield "|---|---:|---:|---|---:|"
    for run in sorted(measurements, key=lambda run: (run.name != TUTORIAL, run.seed)):
        last_phase = list(run.correct)[-1]
        for phase, correct in run.correct.items():
            name = run.name if len(run.correct) == 1 else f"{run.name}, {phase}"
            estimate = proportion(correct, run.test_images)
            accuracy = f"{100 * estimate.value:.1f} % ({100 * estimate.low:.1f} to {100 * estimate.high:.1f})"
            seconds = f"{run.seconds:.0f}" if phase == last_phase else ""
            yield f"| {name} | {run.seed} | {correct} of {run.test_images} | {accuracy} | {seconds} |"


def _part_lines(runs: Sequence[Measurement]) -> Iterator[str]:
    name, total = runs[0].name, statistics.mean(run.seconds for run in runs)
    totals, peaks = [run.seconds for run in runs], [run.peak for run in runs]
    yield _part_line(f"**{name}**", totals, total, image_count(name, runs[0]), peaks)
    for part in runs[0].parts:
        seconds = [run.parts[part] for run in runs]
        if statistics.mean(seconds) < _MIN_SHARE * total:
            continue
        peaks = [run.peaks[part].memory for run in runs if part in run.peaks]
        yield _part_line(part, seconds, total, image_count(part, runs[0]), peaks)


def _part_line(
    name: str, seconds: Sequence[float], total: float, images: int | None, peaks: Sequence[Memory]
) -> str:
    mean = statistics.mean(seconds)
    low, high = f"{min(seconds):.1f}", f"{max(seconds):.1f}"
    spread = f" ({low} to {high})" if low != high else ""
    rate = f"{images / mean:,.0f}" if images and mean else ""
    own = f"{max(peak.own for peak in peaks):,.0f}" if peaks else ""
    resident = f"{max(peak.resident for peak in peaks):,.0f}" if peaks else ""
    return f"| {name} | {mean:.1f}{spread} | {100 * mean / total:.0f} % | {rate} | {own} | {resident} |"
