from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmarks import pipeline_run
from benchmarks.process_monitor import ProcessFailed, process_tree, run_monitored
from pipelines.runs.run_record import PushOutcome, RunOutcome, RunRecord, StepRecord, StepState

# A process whose child allocates memory in the second of two parts.
_GROWING = """
import pathlib, subprocess, sys, time
part = pathlib.Path(sys.argv[1])
part.write_text("small")
time.sleep(0.5)
part.write_text("large")
subprocess.run([sys.executable, "-c", "import time; block = b'1' * 200_000_000; time.sleep(2)"])
print("done")
sys.exit(3)
"""


def test_memory_is_measured_by_part_and_includes_child_processes(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_text("before")
    result = run_monitored([sys.executable, "-c", _GROWING, str(part)], tmp_path / "log", part.read_text)
    assert result.status == 3
    assert 2.5 < result.seconds < 60
    assert (tmp_path / "log").read_text() == "done\n"
    small, large = result.peaks["small"].memory, result.peaks["large"].memory
    assert small.own < 50
    assert 200 < large.own < 260
    assert large.own < large.resident
    assert result.peaks["large"].before < 50


_BUSY = "import time\nwhile time.process_time() < 0.7: pass"


def test_processor_time_is_measured_by_part_and_includes_ended_children(tmp_path: Path) -> None:
    part = tmp_path / "part"
    part.write_text("idle")
    script = f"""
import pathlib, subprocess, sys, time
time.sleep(0.5)
pathlib.Path(sys.argv[1]).write_text("busy")
for _ in range(2):
    subprocess.run([sys.executable, "-c", {_BUSY!r}])
time.sleep(0.3)
"""
    result = run_monitored([sys.executable, "-c", script, str(part)], tmp_path / "log", part.read_text)
    assert list(result.cpu_seconds) == ["idle", "busy"]
    assert result.cpu_seconds["idle"] < 0.4
    assert 1.2 < result.cpu_seconds["busy"] < 2.2


def test_processor_time_of_other_processes_counts_from_the_start(tmp_path: Path) -> None:
    busy = f"{_BUSY}\nprint(flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE) as other:
        try:
            assert other.stdout
            other.stdout.readline()
            command = [sys.executable, "-c", "import time; time.sleep(1)"]
            alone = run_monitored(command, tmp_path / "log", lambda: "all")
            both = run_monitored(command, tmp_path / "log", lambda: "all", other_pids=[other.pid])
        finally:
            other.kill()
    assert alone.cpu_seconds["all"] < 0.2
    assert 0.2 < both.cpu_seconds["all"] - alone.cpu_seconds["all"] < both.seconds + 0.2


def test_interrupting_the_monitor_ends_the_process(tmp_path: Path) -> None:
    started = time.monotonic()

    def part() -> str:
        if (tmp_path / "pid").exists() and (tmp_path / "pid").read_text():
            raise KeyboardInterrupt
        return "waiting"

    script = f"import os, pathlib, time; pathlib.Path({str(tmp_path / 'pid')!r}).write_text(str(os.getpid()))"
    with pytest.raises(KeyboardInterrupt):
        run_monitored([sys.executable, "-c", f"{script}; time.sleep(60)"], tmp_path / "log", part)
    assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()
    assert time.monotonic() - started < 50


@pytest.mark.parametrize("push", [PushOutcome("1", "somewhere/1"), None])
def test_a_summary_provides_times_and_accuracy(push: PushOutcome | None, tmp_path: Path) -> None:
    outcome = RunOutcome(metrics={"accuracy": 0.987, "examples": 1000.0}, push=push)
    seconds = {"Transform": 10.0, "Trainer": 50.5}
    steps = {name: StepRecord(state=StepState.DONE, seconds=time) for name, time in seconds.items()}
    steps["Skipped"] = StepRecord(state=StepState.SKIPPED)
    RunRecord(run_id="run", state="done", seconds=80.0, steps=steps, outcome=outcome).write(tmp_path)
    fields = pipeline_run.parse_summary(json.loads((tmp_path / "run.json").read_text()), 81.0)
    assert fields == {
        "seconds": 81.0,
        "parts": {"start and end": pytest.approx(20.5), **seconds},
        "test_images": 1000,
        "correct": {"end": 987},
        "is_pushed": push is not None,
    }


def test_a_failed_run_raises_with_its_status_and_output(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with pytest.raises(ProcessFailed, match=r" 2(.|\n)*batchsize"):
        pipeline_run.measure("run", 0, "", 10, ["--set", "training.batchsize=3"], log)


def test_a_process_counts_once_if_its_parent_is_measured_too() -> None:
    script = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout
        parent.stdout.readline()
        [_, child] = process_tree(parent.pid)
        assert process_tree(parent.pid, child) == process_tree(child, parent.pid)[::-1] == [parent.pid, child]
