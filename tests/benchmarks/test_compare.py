from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import compare, docs_page, machine, pipeline_run
from benchmarks.compare import BenchmarkRun
from benchmarks.compare_table import PIPELINE, TUTORIAL
from benchmarks.measurements import Measurement
from tests.benchmarks.example_measurements import pipeline, tutorial


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for part in ("train", "validation"):
        (tmp_path / "images" / part).mkdir(parents=True)
        (tmp_path / "images" / part / "1.jpg").write_bytes(b"1")
    return tmp_path / "images"


def benchmark(
    monkeypatch: pytest.MonkeyPatch,
    images: Path,
    stop_after: int = 9,
    *arguments: str,
    code: str = "code",
    meanwhile: Callable[[], object] = lambda: None,
) -> list[tuple[str, int]]:
    """Runs the benchmark with example measurements; returns the names and seeds of those it made.

    Calls `meanwhile` during each measurement.
    """
    made: list[tuple[str, int]] = []

    def measure(run: BenchmarkRun, *_: object) -> Measurement:
        if len(made) == stop_after:
            raise KeyboardInterrupt
        made.append((run.name, run.seed))
        meanwhile()
        return (tutorial if run.name == TUTORIAL else pipeline)(run.seed, inputs=run.inputs)

    output = str(images.parent / "output")
    monkeypatch.setattr(sys, "argv", ["compare", str(images), "--output", output, *arguments])
    monkeypatch.setattr(compare, "_measure", measure)
    monkeypatch.setattr(pipeline_run, "code_fingerprint", lambda: code)
    try:
        compare.main()
    except KeyboardInterrupt:
        assert len(made) == stop_after
    return made


def test_a_killed_benchmark_resumes(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_runs = [(PIPELINE, 0), (TUTORIAL, 0), (PIPELINE, 1), (PIPELINE, 2)]
    assert benchmark(monkeypatch, images, 2) == all_runs[:2]
    assert benchmark(monkeypatch, images) == all_runs[2:]
    capsys.readouterr()
    assert benchmark(monkeypatch, images) == []
    assert "| Trainer: speed-up" in capsys.readouterr().out
    assert (images.parent / "output" / "benchmark.svg").exists()
    assert benchmark(monkeypatch, images, 9, "--anew") == all_runs


def test_measurements_with_changed_inputs_are_repeated(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark(monkeypatch, images)
    other = ("--set", "training.batch_size=16")
    assert benchmark(monkeypatch, images, 9, *other) == [(PIPELINE, 0), (PIPELINE, 1), (PIPELINE, 2)]
    assert len(benchmark(monkeypatch, images, code="other code")) == 3
    assert benchmark(monkeypatch, images, 9, "--tutorial-epochs", "1") == [(TUTORIAL, 0)]
    (images / "train" / "2.jpg").write_bytes(b"2")
    assert len(benchmark(monkeypatch, images)) == 4


def test_a_measurement_whose_inputs_change_meanwhile_is_not_saved(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit() -> None:
        monkeypatch.setattr(pipeline_run, "code_fingerprint", lambda: "edited")

    with pytest.raises(SystemExit, match="catsdogs run, seed 0"):
        benchmark(monkeypatch, images, meanwhile=edit)
    with pytest.raises(SystemExit, match="catsdogs run, seed 0"):
        benchmark(monkeypatch, images, meanwhile=lambda: (images / "train" / "2.jpg").write_bytes(b"2"))
    pins = tmp_path / "project.txt"
    pins.write_text("keras==1")
    monkeypatch.setattr(machine, "_REQUIREMENTS", pins)
    with pytest.raises(SystemExit, match="catsdogs run, seed 0"):
        benchmark(monkeypatch, images, meanwhile=lambda: pins.write_text("keras==2"))
    assert not (images.parent / "output" / "compare.json").exists()
    assert len(benchmark(monkeypatch, images)) == 4


@pytest.mark.parametrize("arguments", ["--tutorial-epochs 1", "--seeds 0 1 2 3", "--seeds 0 0 1"])
def test_write_is_refused_with_options_that_the_page_does_not_describe(
    arguments: str, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(docs_page, "replace_section", lambda *_: pytest.fail("The page was written."))
    with pytest.raises(SystemExit, match="--write.* 10 .* 3 .*--seeds"):
        benchmark(monkeypatch, images, 0, "--write", *shlex.split(arguments))
    assert benchmark(monkeypatch, images, 9, *shlex.split(arguments))
    assert "| Trainer: speed-up" in capsys.readouterr().out


def test_write_accepts_other_seeds(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "CHART", tmp_path / "docs" / "images" / "chart.svg")
    monkeypatch.setattr(compare, "PAGE", tmp_path / "docs" / "page.md")
    compare.CHART.parent.mkdir(parents=True)
    compare.PAGE.write_text("<!-- benchmarks.compare: begin -->\n<!-- benchmarks.compare: end -->\n")
    benchmark(monkeypatch, images, 9, "--write", "--seeds", "3", "4", "5")
    assert "| catsdogs run | 5 |" in compare.PAGE.read_text()
    assert compare.CHART.exists()


def test_a_folder_without_images_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=f"{tmp_path}/train"):
        benchmark(monkeypatch, tmp_path)
