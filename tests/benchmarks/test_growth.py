from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import compare, gate, growth, page
from benchmarks.results import Measured
from tests.benchmarks.measurements import HERE, ours, peak


def run(count: int, seconds: float, memory: float) -> Measured:
    peaks = {"Transform": peak(memory, before=memory / 2)}
    return replace(
        ours(), what=f"{count:,} pictures", trained=count, seconds=seconds,
        parts={"Transform": seconds, "Pusher": 0.0}, peaks=peaks,
    )  # fmt: skip


def told(seconds: float, memory: float) -> str:
    few, many = run(3000, 10, 1000), run(30_000, seconds, memory)
    return "\n".join(growth.table(few, many, HERE, ["training.image_size=96"]))


def test_components_within_bounds_are_not_marked() -> None:
    text = told(119, 1490)
    times, memory = "10.0 → 119.0 | 3.33 → 3.97 | +19 %", "1,000 → 1,490 | +49 % | 500 → 745 | 1,500 → 1,990"
    assert f"| Transform | {times} | {memory} |" in text
    assert f"| **all** | {times} | {memory} |" in text
    assert "| Pusher | 0.0 → 0.0 | 0.00 → 0.00 |  | | | | |" in text
    assert "**+" not in text


def test_components_beyond_bounds_are_marked() -> None:
    text = told(125, 1000)
    assert "**+25 %**" in text
    assert "**+60 %**" in told(100, 1600)


def test_a_table_is_put_between_its_marks(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "# Title\n<!-- a: begin -->\nold\n<!-- a: end -->\n<!-- b: begin -->\n<!-- b: end -->\nend\n"
    )
    for _ in range(2):
        page.put(file, "a", "new")
        page.put(file, "b", "table")
    assert file.read_text() == (
        "# Title\n<!-- a: begin -->\nnew\n<!-- a: end -->\n<!-- b: begin -->\ntable\n<!-- b: end -->\nend\n"
    )


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (compare.PAGE, "benchmarks.compare"),
        (growth.PAGE, "benchmarks.growth"),
        (gate.PAGE, "benchmarks.gate"),
    ],
)
def test_the_pages_have_the_marks(file: Path, name: str, tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text((Path(__file__).parents[2] / file).read_text())
    page.put(copy, name, "a table")
    assert f"<!-- {name}: begin -->\na table\n<!-- {name}: end -->" in copy.read_text()
