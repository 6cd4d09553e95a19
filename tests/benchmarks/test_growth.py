from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import compare, docs_page, gate, growth
from benchmarks.measurements import Measurement
from tests.benchmarks.example_measurements import MACHINE, peak, pipeline


def run(count: int, seconds: float, memory: float) -> Measurement:
    peaks = {"Transform": peak(memory, before=memory / 2)}
    return replace(
        pipeline(), name=f"{count:,} images", train_images=count, seconds=seconds,
        parts={"Transform": seconds, "Pusher": 0.0}, peaks=peaks,
    )  # fmt: skip


def format_table(seconds: float, memory: float) -> str:
    small, large = run(3000, 10, 1000), run(30_000, seconds, memory)
    return "\n".join(growth.table_lines(small, large, MACHINE, ["training.image_size=96"]))


def test_growth_within_the_limits_is_not_marked() -> None:
    text = format_table(119, 1490)
    times, memory = "10.0 → 119.0 | 3.33 → 3.97 | +19 %", "1,000 → 1,490 | +49 % | 500 → 745 | 1,500 → 1,990"
    assert f"| Transform | {times} | {memory} |" in text
    assert f"| **all** | {times} | {memory} |" in text
    assert "| Pusher | 0.0 → 0.0 | 0.00 → 0.00 |  | | | | |" in text
    assert "**+" not in text


def test_growth_beyond_the_limits_is_marked() -> None:
    text = format_table(125, 1000)
    assert "**+25 %**" in text
    assert "**+60 %**" in format_table(100, 1600)


def test_a_section_is_replaced_between_its_markers(tmp_path: Path) -> None:
    file = tmp_path / "page.md"
    file.write_text(
        "# Title\n<!-- a: begin -->\nold\n<!-- a: end -->\n<!-- b: begin -->\n<!-- b: end -->\nend\n"
    )
    for _ in range(2):
        docs_page.replace_section(file, "a", "new")
        docs_page.replace_section(file, "b", "table")
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
def test_the_pages_have_the_markers(file: Path, name: str, tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text((Path(__file__).parents[2] / file).read_text())
    docs_page.replace_section(copy, name, "a table")
    assert f"<!-- {name}: begin -->\na table\n<!-- {name}: end -->" in copy.read_text()
