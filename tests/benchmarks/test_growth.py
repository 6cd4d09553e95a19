from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks import compare, gate, growth, page, pipeline_run
from benchmarks.results import Measured
from tests.benchmarks.measurements import HERE, ours, peak


def test_given_settings_take_the_place_of_the_usual_ones() -> None:
    chosen = growth.settings(["training.image_size=224", "training.batch_size=64"])
    assert {"training.image_size=224", "training.batch_size=64", "data.source=sample"} <= set(chosen)
    assert len(chosen) == len(growth.SETTINGS) + 1


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


def test_a_run_during_which_the_code_changed_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[str] = []

    def measure(what: str, seed: int, asked: str, count: int, *_: object) -> Measured:
        taken.append(what)
        if count == 30_000 and len(taken) == 2:
            monkeypatch.setattr(pipeline_run, "code", lambda: "edited")
        return replace(run(count, 10, 1000), asked=asked, seed=seed)

    monkeypatch.setattr(sys, "argv", ["growth", "--output", str(tmp_path)])
    monkeypatch.setattr(pipeline_run, "run", measure)
    monkeypatch.setattr(pipeline_run, "code", lambda: "code")
    with pytest.raises(SystemExit, match="30,000 pictures, seed 0"):
        growth.main()
    monkeypatch.setattr(pipeline_run, "code", lambda: "code")
    growth.main()
    assert taken == ["3,000 pictures", "30,000 pictures", "30,000 pictures"]


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
