from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import growth, page
from benchmarks.results import Measured
from tests.benchmarks.measurements import HERE, ours, peak


def test_growth_of_a_cost_per_picture() -> None:
    assert growth.growth(10, 120, 10) == pytest.approx(0.2)
    assert growth.growth(10, 50, 10) == pytest.approx(-0.5)
    assert growth.growth(1000, 1500) == pytest.approx(0.5)
    assert growth.growth(0, 5) is None


def run(what: str, seconds: float, memory: float) -> Measured:
    return replace(ours(), what=what, seconds=seconds, parts={"Transform": seconds},
                   peaks={"Transform": peak(memory)})  # fmt: skip


def told(seconds: float, memory: float) -> str:
    few, many = run("3,000 pictures", 10, 1000), run("30,000 pictures", seconds, memory)
    return "\n".join(growth.table(few, many, 10, HERE, ["training.image_size=96"]))


def test_components_within_bounds_are_not_marked() -> None:
    text = told(119, 1490)
    assert "| Transform | 10.0 | 119.0 | +19 % | 1,000 | 1,490 | +49 % | 100 → 100 | 1,500 → 1,990 |" in text
    assert "Time per picture grows by more than 20 % of no component." in text
    assert "Peak memory grows by more than 50 % of no component." in text


def test_components_beyond_bounds_are_marked() -> None:
    text = told(125, 1000)
    assert "**+25 %**" in text
    assert "more than 20 % of Transform." in text
    assert "more than 50 % of no component." in text
    assert "more than 50 % of Transform." in told(100, 1600)


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


@pytest.mark.parametrize("name", ["benchmarks.compare", "benchmarks.growth"])
def test_the_page_has_the_marks(name: str, tmp_path: Path) -> None:
    copy = tmp_path / "page.md"
    copy.write_text((Path(__file__).parents[2] / growth.PAGE).read_text())
    page.put(copy, name, "a table")
    assert f"<!-- {name}: begin -->\na table\n<!-- {name}: end -->" in copy.read_text()
