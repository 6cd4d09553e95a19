from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest

from benchmarks import growth_table
from benchmarks.growth_table import FEATURE_PASS, StepSeries
from benchmarks.measurements import Measurement
from tests.benchmarks.example_measurements import MACHINE, peak, pipeline


def run(count: int, cpu: float, memory: float, step: str = "Transform", seconds: float = 9) -> Measurement:
    return replace(
        pipeline(), name=f"{count:,} images", train_images=count, test_images=count // 10,
        parts={step: seconds}, cpu_seconds={step: cpu}, peaks={step: peak(memory)},
    )  # fmt: skip


def lines(
    local: Sequence[Measurement],
    *,
    trainer: Sequence[Measurement] = (),
    flink: Sequence[Measurement] = (),
) -> list[str]:
    return list(growth_table.table_lines(local, trainer, flink, MACHINE, ["training.image_size=96"]))


def test_the_last_run_is_compared_with_a_tenth_of_its_images() -> None:
    text = lines([run(3000, 9, 500), run(10_000, 18, 1000), run(30_000, 50, 1100), run(100_000, 198, 1200)])
    assert "| Transform | train and eval | 3.33 | 2.00 | 1.85 | 2.20 | +10 % | -2.0 | 2.22 |" in text
    assert "| Transform | 500 | 1,000 | 1,100 | 1,200 | +20 % |" in text


@pytest.mark.parametrize(("cpu", "memory", "marked"), [
    (225, 1250, []), (226, 1250, ["**+26 %**"]), (225, 1270, ["**+27 %**"]), (230, 1280, ["**+28 %**"] * 2)
])  # fmt: skip
def test_growth_of_more_than_a_quarter_is_marked(cpu: float, memory: float, marked: list[str]) -> None:
    text = "\n".join(lines([run(10_000, 18, 1000), run(100_000, cpu, memory)]))
    assert re.findall(r"\*\*.*?\*\*", text) == marked


@pytest.mark.parametrize(("step", "images"), [
    ("ImageExampleGen", [1000, 10_000]), ("StatisticsGen", [1000, 10_000]), ("Transform", [900, 9000]),
    ("PredictionTable", [100, 1000]), ("Evaluator", [100, 1000]),
])  # fmt: skip
def test_a_step_is_measured_by_the_images_of_its_own_splits(step: str, images: list[int]) -> None:
    [series] = growth_table.step_series([run(1000, 9, 1, step), run(10_000, 9, 1, step)], [])
    assert (series.step, series.images) == (step, images)


def test_the_feature_pass_is_that_of_the_trainer_alone() -> None:
    local = [run(3000, 9, 1), run(10_000, 20, 1), run(30_000, 60, 1)]
    trainer = [
        replace(run(count, count / 100, count, FEATURE_PASS), test_images=0, cache_mb=count / 10)
        for count in (3000, 30_000)
    ]
    _, series = growth_table.step_series(local, trainer)
    assert (series.counts, series.images) == ([3000, 30_000], [2700, 27_000])
    text = lines(local, trainer=trainer)
    assert f"| {FEATURE_PASS} | train and eval | 11.11 |  | 11.11 | +0 % | 0.0 | 11.11 |" in text
    assert f"| {FEATURE_PASS} | 3,000 |  | 30,000 | **+900 %** |" in text
    assert "Feature cache on disk: 300 → 3,000 MB." in text


def test_fixed_time_is_separated_from_time_per_image() -> None:
    series = StepSeries("Transform", [10, 100], [10, 100], [5.1, 6.0], [1.0, 1.0])
    assert series.fixed_and_marginal == (pytest.approx(5.0), pytest.approx(10.0))


def test_runs_on_flink_stand_beside_those_here() -> None:
    flink = [
        replace(run(3000, cpu, 1, seconds=30), name=f"3,000 images, {slots}")
        for slots, cpu in ((1, 20), (2, 22))
    ]
    text = lines([run(3000, 9, 500), run(10_000, 18, 1000)], flink=flink)
    assert "| CPU s / s, with: | 3,000 images | 3,000 images, 1 | 3,000 images, 2 |" in text
    assert "| Transform | 9.0 / 9.0 | 20.0 / 30.0 | 22.0 / 30.0 |" in text
