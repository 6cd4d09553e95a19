from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import compare, pipeline_run
from benchmarks.compare import Job
from benchmarks.compare_table import PIPELINE, TUTORIAL
from benchmarks.results import Kept, Measured
from benchmarks.watched import RunFailed
from tests.benchmarks.measurements import HERE, ours, tutorial


def order(tutorial_seeds: list[int], seeds: list[int]) -> list[str]:
    return [f"{job.what[0]}{job.seed}" for job in compare.plan(tutorial_seeds, seeds, "script", "code")]


def test_both_sides_alternate() -> None:
    assert order([0], [0, 1, 2]) == ["c0", "t0", "c1", "c2"]
    assert order([0, 1, 2], [0, 1, 2]) == ["t0", "c0", "t1", "c1", "t2", "c2"]
    assert order([0, 1], [0, 1, 2, 3]) == ["c0", "t0", "c1", "c2", "t1", "c3"]


def test_what_was_measured_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "new" / "compare.json"
    assert Kept(file, HERE, anew=False).once(TUTORIAL, 0, "script", tutorial) == tutorial()
    assert Kept(file, HERE, anew=False).once(PIPELINE, 0, "code", ours) == ours()
    assert Kept(file, HERE, anew=False).measured == [tutorial(), ours()]
    assert Kept(file, HERE, anew=True).measured == []
    assert [path.name for path in file.parent.iterdir()] == ["compare.json"]
    assert json.loads(file.read_text())["machine"] == HERE


def test_only_the_same_question_has_the_same_answer(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "compare.json", HERE, anew=False)
    kept.once(PIPELINE, 1, "code", lambda: ours(1))

    def fail() -> Measured:
        raise RunFailed("It did not work.")

    assert kept.once(PIPELINE, 1, "code", fail) == ours(1)
    for other in ((PIPELINE, 2, "code"), (PIPELINE, 1, "other code"), (TUTORIAL, 1, "code")):
        with pytest.raises(SystemExit, match="It did not work"):
            kept.once(*other, fail)
    assert kept.measured == [ours(1)]


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for part in ("train", "validation"):
        (tmp_path / "images" / part).mkdir(parents=True)
        (tmp_path / "images" / part / "1.jpg").write_bytes(b"1")
    return tmp_path / "images"


def benchmark(
    monkeypatch: pytest.MonkeyPatch, images: Path, stop_after: int = 9, *words: str, code: str = "code"
) -> list[tuple[str, int]]:
    """Runs the benchmark with measurements out of a drawer; returns which were taken."""
    taken: list[tuple[str, int]] = []

    def measure(job: Job, *_: object) -> Measured:
        if len(taken) == stop_after:
            raise KeyboardInterrupt
        taken.append((job.what, job.seed))
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


def test_a_folder_without_pictures_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"no pictures in .*train: IMAGES must hold train/<class>"):
        benchmark(monkeypatch, tmp_path)
