from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import pytest

from benchmarks import pipeline_run
from benchmarks.watched import RunFailed, watch
from pipelines.runs.run_record import Outcome, Push, RunRecord, State, Step

# A process whose child takes memory in the second of two parts.
_GROWING = """
import pathlib, subprocess, sys, time
part = pathlib.Path(sys.argv[1])
part.write_text("small")
time.sleep(0.5)
part.write_text("large")
subprocess.run([sys.executable, "-c", "import time; kept = b'1' * 200_000_000; time.sleep(2)"])
print("done")
sys.exit(3)
"""


def test_memory_is_that_of_the_part_and_of_children(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_text("before")
    watched = watch([sys.executable, "-c", _GROWING, str(part)], tmp_path / "log", part.read_text)
    assert watched.status == 3
    assert 2.5 < watched.seconds < 60
    assert (tmp_path / "log").read_text() == "done\n"
    small, large = watched.peaks["small"].memory, watched.peaks["large"].memory
    assert small.own < 50
    assert 200 < large.own < 260
    assert large.own < large.resident
    assert watched.peaks["large"].before < 50


def test_a_watched_process_ends_with_the_watching_one(tmp_path: Path) -> None:
    started = time.monotonic()

    def part() -> str:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise KeyboardInterrupt
        return "waiting"

    script = f"import os, pathlib, time; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))"
    with pytest.raises(KeyboardInterrupt):
        watch([sys.executable, "-c", f"{script}; time.sleep(60)"], tmp_path / "log", part)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()
    assert time.monotonic() - started < 50


@pytest.mark.parametrize("push", [Push("1", "somewhere/1"), None])
def test_a_summary_tells_times_and_accuracy(push: Push | None, tmp_path: Path) -> None:
    outcome = Outcome(metrics={"accuracy": 0.987, "examples": 1000.0}, push=push)
    seconds = {"Transform": 10.0, "Trainer": 50.5}
    steps = {name: Step(state=State.DONE, seconds=taken) for name, taken in seconds.items()}
    RunRecord(run_id="run", state="done", seconds=80.0, steps=steps, outcome=outcome).write(tmp_path)
    told = pipeline_run.told(json.loads((tmp_path / "summary.json").read_text()), 81.0)
    assert told == {
        "seconds": 81.0,
        "parts": {"start and end": pytest.approx(20.5), **seconds},
        "pictures": 1000,
        "correct": {"end": 987},
        "pushed": push is not None,
    }


def test_a_run_that_fails_is_told(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(RunFailed, match=r" 2(.|\n)*batchsize"):
        pipeline_run.run("run", 0, "", 10, ["--set", "training.batchsize=3"], log)
