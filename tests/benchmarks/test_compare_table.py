from __future__ import annotations

import pytest

from benchmarks import compare_table
from benchmarks.measurements import Measurement
from tests.benchmarks.example_measurements import MACHINE, pipeline, tutorial


def format_table(measured: list[Measurement], *overrides: str, epochs: int = 10) -> list[str]:
    return list(compare_table.table_lines(measured, MACHINE, overrides, epochs))


def row(lines: list[str], start: str) -> list[str]:
    (match,) = [line for line in lines if line.startswith(f"| {start}")]
    return [cell.strip() for cell in match.strip("|").split("|")]


def test_met_targets_are_not_marked() -> None:
    lines = format_table([tutorial(), pipeline(0), pipeline(1, correct=991), pipeline(2, correct=983)])
    assert row(lines, "Trainer: speed-up")[1:] == ["8.0 (8.0 to 8.0)", "6 or more", "met"]
    assert row(lines, "`catsdogs run`: speed-up")[1:] == ["5.0 (5.0 to 5.0)", "3 or more", "met"]
    assert row(lines, "accuracy")[1] == "98.70 % (98.3 to 99.1)"
    assert "the tutorial's 97.90 %" in row(lines, "accuracy")[2]
    assert row(lines, "models pushed")[1:] == ["3 of 3", "all", "met"]
    assert "**missed**" not in "\n".join(lines)
    just = format_table([tutorial(), *(pipeline(seed, correct=985) for seed in range(3))])
    assert row(just, "accuracy")[3] == "met"


@pytest.mark.parametrize(
    ("measurements", "targets"),
    [
        ([tutorial(), pipeline(trainer=81)], ["Trainer: speed-up"]),
        ([tutorial(), pipeline(trainer=200)], ["Trainer: speed-up", "`catsdogs run`: speed-up"]),
        ([tutorial(), *(pipeline(seed, correct=985 - seed % 2) for seed in range(3))], ["accuracy"]),
        # better than the tutorial, but below the target; above the target, but worse than the tutorial
        ([tutorial(), pipeline(correct=984)], ["accuracy"]),
        ([tutorial(correct=988), pipeline(correct=987)], ["accuracy"]),
        ([tutorial(), pipeline(0), pipeline(1, is_pushed=False)], ["models pushed"]),
    ],
)
def test_missed_targets_are_marked(measurements: list[Measurement], targets: list[str]) -> None:
    missed = [line for line in format_table(measurements) if "**missed**" in line]
    assert len(missed) == len(targets)
    assert all(line.startswith(f"| {start}") for line, start in zip(missed, targets, strict=True))


def test_each_part_has_time_share_rate_and_memory() -> None:
    lines = format_table([tutorial(), pipeline(0, trainer=40), pipeline(1, trainer=60)])
    assert row(lines, "Trainer |")[1:] == ["50.0 (40.0 to 60.0)", "55 %", "40", "1,200", "1,700"]
    assert row(lines, "**tutorial's script**")[1:] == ["500.0", "100 %", "6", "1,500", "2,000"]
    assert row(lines, "Evaluator")[1:] == ["10.0", "11 %", "100", "1,300", "1,800"]
    assert not [line for line in lines if line.startswith("| Pusher")]  # too short to matter
    # The memory of the script is measured as a whole.
    assert row(lines, "frozen")[1:] == ["200.0", "40 %", "10", "", ""]


def test_each_model_has_its_interval() -> None:
    lines = format_table([pipeline(0), tutorial(0)])
    assert row(lines, "tutorial's script, frozen")[2:4] == ["964 of 1000", "96.4 % (95.1 to 97.4)"]
    assert row(lines, "catsdogs run |")[1:] == ["0", "987 of 1000", "98.7 % (97.8 to 99.2)", "100"]


def test_machine_and_settings_are_stated() -> None:
    lines = format_table([tutorial(), pipeline()], "training.image_size=160")
    assert "2 cores (Some CPU), 16 GB of memory" in lines[0]
    assert "`training.image_size=160`" in lines[1]
    assert format_table([tutorial(), pipeline()])[1] == ""
