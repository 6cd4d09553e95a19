from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import compare, machine, page, pipeline_run
from benchmarks.compare import Job
from benchmarks.compare_table import PIPELINE, TUTORIAL
from benchmarks.results import Measured
from tests.benchmarks.measurements import ours, tutorial


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
    *words: str,
    code: str = "code",
    meanwhile: Callable[[], object] = lambda: None,
) -> list[tuple[str, int]]:
    """Runs the benchmark with measurements out of a drawer; returns which were taken.

    `meanwhile` happens during each of them.
    """
    taken: list[tuple[str, int]] = []

    def measure(job: Job, *_: object) -> Measured:
        if len(taken) == stop_after:
            raise KeyboardInterrupt
        taken.append((job.what, job.seed))
        meanwhile()
        return (tutorial if job.what == TUTORIAL else ours)(job.seed, asked=job.asked)

    output = str(images.parent / "output")
    monkeypatch.setattr(sys, "argv", ["compare", str(images), "--output", output, *words])
    monkeypatch.setattr(compare, "_measure", measure)
    monkeypatch.setattr(pipeline_run, "code", lambda: code)  # somebody may be writing on the real one
    try:
        compare.main()
    except KeyboardInterrupt:
        assert len(taken) == stop_after
    return taken


def test_a_killed_benchmark_goes_on(
    images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    all_jobs = [(PIPELINE, 0), (TUTORIAL, 0), (PIPELINE, 1), (PIPELINE, 2)]
    assert benchmark(monkeypatch, images, 2) == all_jobs[:2]
    assert benchmark(monkeypatch, images) == all_jobs[2:]
    capsys.readouterr()
    assert benchmark(monkeypatch, images) == []
    assert "| Trainer: times as quick" in capsys.readouterr().out
    assert (images.parent / "output" / "benchmark.svg").exists()
    assert benchmark(monkeypatch, images, 9, "--anew") == all_jobs


def test_what_has_changed_is_measured_anew(images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark(monkeypatch, images)
    other = ("--set", "training.batch_size=16")
    assert benchmark(monkeypatch, images, 9, *other) == [(PIPELINE, 0), (PIPELINE, 1), (PIPELINE, 2)]
    assert len(benchmark(monkeypatch, images, code="other code")) == 3
    assert benchmark(monkeypatch, images, 9, "--tutorial-epochs", "1") == [(TUTORIAL, 0)]
    (images / "train" / "2.jpg").write_bytes(b"2")
    assert len(benchmark(monkeypatch, images)) == 4


def test_what_changed_while_it_was_measured_is_not_kept(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def edit() -> None:
        monkeypatch.setattr(pipeline_run, "code", lambda: "edited")

    with pytest.raises(SystemExit, match="catsdogs run, seed 0"):
        benchmark(monkeypatch, images, meanwhile=edit)
    with pytest.raises(SystemExit, match="catsdogs run, seed 0"):
        benchmark(monkeypatch, images, meanwhile=lambda: (images / "train" / "2.jpg").write_bytes(b"2"))
    pins = tmp_path / "project.txt"
    pins.write_text("keras==1")
    monkeypatch.setattr(machine, "_PINNED", pins)
    with pytest.raises(SystemExit, match="catsdogs run, seed 0"):
        benchmark(monkeypatch, images, meanwhile=lambda: pins.write_text("keras==2"))
    assert not (images.parent / "output" / "compare.json").exists()
    assert len(benchmark(monkeypatch, images)) == 4


@pytest.mark.parametrize("words", ["--tutorial-epochs 1", "--seeds 0 1 2 3", "--seeds 0 0 1"])
def test_the_page_takes_nothing_that_it_does_not_speak_of(
    words: str, images: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(page, "put", lambda *_: pytest.fail("It was written."))
    with pytest.raises(SystemExit, match="--write.* 10 .* 3 .*--seeds"):
        benchmark(monkeypatch, images, 0, "--write", *shlex.split(words))
    assert benchmark(monkeypatch, images, 9, *shlex.split(words))
    assert "| Trainer: times as quick" in capsys.readouterr().out


def test_the_page_takes_other_seeds(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "CHART", tmp_path / "docs" / "images" / "chart.svg")
    monkeypatch.setattr(compare, "PAGE", tmp_path / "docs" / "page.md")
    compare.CHART.parent.mkdir(parents=True)
    compare.PAGE.write_text("<!-- benchmarks.compare: begin -->\n<!-- benchmarks.compare: end -->\n")
    benchmark(monkeypatch, images, 9, "--write", "--seeds", "3", "4", "5")
    assert "| catsdogs run | 5 |" in compare.PAGE.read_text()
    assert compare.CHART.exists()


def test_a_folder_without_pictures_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=f"{tmp_path}/train"):
        benchmark(monkeypatch, tmp_path)
