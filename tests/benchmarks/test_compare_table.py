from __future__ import annotations

import pytest

from benchmarks import compare_table
from benchmarks.results import Measured
from tests.benchmarks.measurements import HERE, ours, tutorial


def told(measured: list[Measured], *overrides: str, epochs: int = 10) -> list[str]:
    return list(compare_table.lines(measured, HERE, overrides, epochs))


def row(lines: list[str], start: str) -> list[str]:
    (found,) = [line for line in lines if line.startswith(f"| {start}")]
    return [cell.strip() for cell in found.strip("|").split("|")]


def test_all_targets_met() -> None:
    lines = told([tutorial(), ours(0), ours(1, correct=991), ours(2, correct=983)])
    assert row(lines, "Trainer: times")[1:] == ["8.0 (8.0 to 8.0)", "6 or more", "met"]
    assert row(lines, "`catsdogs run`: times")[1:] == ["5.0 (5.0 to 5.0)", "3 or more", "met"]
    assert row(lines, "accuracy")[1] == "98.70 % (98.3 to 99.1)"
    assert "the tutorial's 97.90 %" in row(lines, "accuracy")[2]
    assert row(lines, "models pushed")[1:] == ["3 of 3", "all", "met"]
    assert "**missed**" not in "\n".join(lines)
    just = told([tutorial(), *(ours(seed, correct=985) for seed in range(3))])
    assert row(just, "accuracy")[3] == "met"


@pytest.mark.parametrize(
    ("measured", "which"),
    [
        ([tutorial(), ours(trainer=81)], ["Trainer: times"]),
        ([tutorial(), ours(trainer=200)], ["Trainer: times", "`catsdogs run`: times"]),
        ([tutorial(), *(ours(seed, correct=985 - seed % 2) for seed in range(3))], ["accuracy"]),
        ([tutorial(), ours(correct=984)], ["accuracy"]),  # better than the tutorial's, and not good enough
        ([tutorial(correct=988), ours(correct=987)], ["accuracy"]),  # good, and worse than the tutorial's
        ([tutorial(), ours(0), ours(1, pushed=False)], ["models pushed"]),
    ],
)
def test_targets_missed(measured: list[Measured], which: list[str]) -> None:
    missed = [line for line in told(measured) if "**missed**" in line]
    assert len(missed) == len(which)
    assert all(line.startswith(f"| {start}") for line, start in zip(missed, which, strict=True))


def test_parts_have_time_share_rate_and_memory() -> None:
    lines = told([tutorial(), ours(0, trainer=40), ours(1, trainer=60)])
    assert row(lines, "Trainer |")[1:] == ["50.0 (40.0 to 60.0)", "55 %", "40", "1,200", "1,700"]
    assert row(lines, "**tutorial's script**")[1:] == ["500.0", "100 %", "6", "1,500", "2,000"]
    assert row(lines, "Pusher")[1:] == ["0.3", "0 %", "", "1,400", "1,900"]
    assert row(lines, "frozen")[1:] == ["200.0", "40 %", "10", "", ""]  # its memory is that of the script


def test_every_model_has_its_interval() -> None:
    lines = told([ours(0), tutorial(0)])
    assert row(lines, "tutorial's script, frozen")[2:4] == ["964 of 1000", "96.4 % (95.1 to 97.4)"]
    assert row(lines, "catsdogs run |")[1:] == ["0", "987 of 1000", "98.7 % (97.8 to 99.2)", "100"]


def test_machine_and_settings_are_told() -> None:
    lines = told([tutorial(), ours()], "training.image_size=160")
    assert "2 cores (Some CPU), 16 GB of memory" in lines[0]
    assert "`training.image_size=160`" in lines[1]
    assert told([tutorial(), ours()])[1] == ""
