"""Local runs in processes of their own: failures, signals, files. Slow, because each imports TFX."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.errors import InputError, PipelineError
from pipelines.local import run as local_run
from pipelines.local.summary import RunOptions
from pipelines.runs import lock
from pipelines.runs.run_folders import load_run_records
from pipelines.runs.run_record import PushOutcome, RunOutcome, RunRecord
from pipelines.settings import loading as settings_module
from pipelines.settings.loading import load
from tests.processes import mark, marked

_PARENT = """
import sys
from components.errors import PipelineError
from pipelines.local.summary import RunOptions
from pipelines.local.run import run_locally
from pipelines.settings.loading import load
try:
    sys.exit(run_locally(load(overrides=sys.argv[1:]), RunOptions("tiny"), pipeline="tiny_pipeline:build"))
except PipelineError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
"""
WAIT = 600.0  # seconds; TFX takes 10 to 20 to import on an idle machine

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(fault, *overrides)` starts the tiny pipeline in a separate process."""
    started = []

    def begin(fault: str = "", *overrides: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-c", _PARENT, f"output_root={tmp_path / 'output'}", *overrides],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={
                **os.environ,
                **mark(tmp_path),
                "TINY_FAULT": fault,
                "PYTHONPATH": str(Path(__file__).parent),
            },
        )
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def _until(process: subprocess.Popen[str], text: str) -> None:
    """Reads the output of the process until a line contains the text."""
    assert process.stdout is not None
    for line in process.stdout:
        if text in line:
            return
    pytest.fail(f"the run ended before it printed {text!r}: {process.communicate()}")


def _becomes(state: Callable[[], bool]) -> bool:
    """Returns True as soon as `state()` does, False after WAIT seconds."""
    deadline = time.monotonic() + WAIT
    while not state():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def _has_grandchild(tmp_path: Path) -> bool:
    return any(command.startswith("sleep ") for command in marked(tmp_path))


@pytest.mark.slow
def test_a_failure_prints_one_sentence_and_logs_the_details(start: Start, tmp_path: Path) -> None:
    failed = start("Trainer:raise")
    out, err = failed.communicate(timeout=WAIT)
    assert failed.returncode == 1
    sentence, details, _ = err.splitlines()
    assert all(part in sentence for part in ("Trainer", "ValueError", "the cat sat"))
    log = Path(details.split()[-1])
    assert "on the mat" in log.read_text()
    assert "Traceback" in log.read_text()

    assert "a warning" not in out + err
    [run_dir] = (tmp_path / "output" / "runs").iterdir()
    ingest_log = (run_dir / "logs" / "02-Ingest.log").read_text()
    assert "a warning from somewhere deep" in ingest_log
    assert "a warning from C++" in ingest_log
    assert sorted(file.name for file in run_dir.iterdir()) == ["logs", "run.json", "settings.yaml"]
    summary = json.loads((run_dir / "run.json").read_text())
    assert (summary["state"], summary["exit_status"]) == ("failed", 1)
    assert summary["message"] == sentence
    assert summary["steps"]["Trainer"]["state"] == "failed"
    assert summary["steps"]["QualityGate"]["state"] == "waiting"


@pytest.mark.slow
def test_ctrl_c_stops_all_processes_and_a_second_run_is_refused(start: Start, tmp_path: Path) -> None:
    root = tmp_path / "output"
    hanging = start("Trainer:hang and wrap")
    _until(hanging, "Trainer: running")
    assert _becomes(lambda: _has_grandchild(tmp_path))

    second = start()
    _, refusal = second.communicate(timeout=WAIT)
    [run_dir] = (root / "runs").iterdir()
    assert second.returncode == 1
    assert all(part in refusal for part in (str(hanging.pid), run_dir.name, str(root)))
    settings = load(overrides=[f"output_root={root}"])
    [listed] = load_run_records(settings)
    assert (listed.state, listed.running_step, listed.steps["Ingest"].state) == ("running", "Trainer", "done")

    hanging.send_signal(signal.SIGINT)
    out, err = hanging.communicate(timeout=WAIT)
    assert hanging.returncode == 130
    assert "Trainer: stopped" in out
    assert len(err.splitlines()) == 1
    assert _becomes(lambda: not marked(tmp_path))
    [listed] = load_run_records(settings)
    assert (listed.state, listed.steps["Trainer"].state) == ("interrupted", "stopped")
    assert json.loads((run_dir / "run.json").read_text())["state"] == "interrupted"


@pytest.mark.slow
def test_kill_9_of_the_parent_ends_the_worker_and_the_next_run_resumes(start: Start, tmp_path: Path) -> None:
    root = tmp_path / "output"
    killed = start("Trainer:hang")
    _until(killed, "Trainer: running")
    assert _becomes(lambda: _has_grandchild(tmp_path))
    killed.kill()
    killed.wait()
    assert _becomes(lambda: not marked(tmp_path))
    assert _becomes(lambda: lock.holder_purpose(root) is None)  # files are closed after memory is freed
    settings = load(overrides=[f"output_root={root}"])
    [listed] = load_run_records(settings)
    assert (listed.state, listed.seconds, listed.steps["Ingest"].state) == ("interrupted", None, "done")

    resumed = start()
    out, err = resumed.communicate(timeout=WAIT)
    assert (resumed.returncode, err) == (0, "")
    assert "Ingest: cached" in out
    assert "Trainer: done" in out
    pushed, before = load_run_records(settings)
    assert (pushed.state, before.state) == ("done", "interrupted")
    assert pushed.outcome is not None
    assert pushed.outcome.push is not None
    assert pushed.outcome.push.version in out


@pytest.mark.slow
def test_kill_9_of_the_worker_is_reported(start: Start, tmp_path: Path) -> None:
    run = start("Trainer:kill")
    out, err = run.communicate(timeout=WAIT)
    assert run.returncode == 1
    assert "Trainer: failed" in out
    assert all(part in err for part in ("SIGKILL", "training.batch_size", "03-Trainer.log"))
    [listed] = load_run_records(load(overrides=[f"output_root={tmp_path / 'output'}"]))
    assert (listed.state, listed.steps["Trainer"].state) == ("failed", "failed")
    assert listed.seconds is not None
    assert listed.seconds > 0


@pytest.mark.slow
def test_a_full_disk_ends_a_run_whose_log_is_on_it(start: Start, tmp_path: Path) -> None:
    run = start("Trainer:beam on a full disk")
    _, err = run.communicate(timeout=WAIT)
    assert run.returncode == 1
    assert all(part in err for part in (f"{tmp_path / 'output'} is full", "1 GB", "catsdogs clean"))
    [listed] = load_run_records(load(overrides=[f"output_root={tmp_path / 'output'}"]))
    assert (listed.state, listed.steps["Trainer"].state) == ("failed", "failed")


@pytest.mark.slow
def test_an_unknown_node_leaves_no_run_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    settings = load(overrides=[f"output_root={tmp_path / 'output'}"])
    assert local_run.run_locally(settings, RunOptions(from_node="Trian"), pipeline="tiny_pipeline:build") == 2
    assert "'Trainer'" in capsys.readouterr().err
    assert list(settings.runs_dir.iterdir()) == []


@pytest.mark.slow
def test_the_log_of_a_run_that_failed_before_its_steps_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = load(overrides=[f"output_root={tmp_path / 'output'}"])
    assert local_run.run_locally(settings, RunOptions(), pipeline="pipelines.pipeline:bulid") == 1
    sentence, details = capsys.readouterr().err.splitlines()
    assert "AttributeError" in sentence
    assert "Traceback" in Path(details.split()[-1]).read_text()


def test_signals_interrupt_unless_ignored_as_under_nohup() -> None:
    earlier = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with local_run._raise_on_signals():
            signal.raise_signal(signal.SIGHUP)
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGTERM)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        with pytest.raises(KeyboardInterrupt), local_run._raise_on_signals():
            signal.raise_signal(signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, earlier)


def test_too_little_free_space_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_run, "MIN_FREE_BYTES", 10**18)
    with pytest.raises(PipelineError, match=re.escape(f"catsdogs clean --set output_root={tmp_path}")):
        local_run.check_disk(tmp_path)


def test_an_unwritable_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file" / "output", Path("/proc/output")):
        with pytest.raises(PipelineError, match=re.escape(str(folder))):
            local_run.check_disk(folder)


def _past_run(tmp_path: Path, name: str, version: str | None) -> None:
    folder = tmp_path / "runs" / name
    folder.mkdir(parents=True)
    settings = load(overrides=[f"output_root={tmp_path}"])
    (folder / "settings.yaml").write_text(settings_module.dump(settings))
    outcome = RunOutcome(push=PushOutcome(version, "somewhere") if version else None)
    RunRecord(run_id=name, outcome=outcome).write(folder)


@pytest.mark.parametrize("changes", [[], ["data.class_names=[ant, bee]", "pipeline_name=ant-bee"]])
def test_the_same_classes_or_another_pipeline_name_are_accepted(tmp_path: Path, changes: list[str]) -> None:
    _past_run(tmp_path, "2026-01-01T00-00-00", "7")
    local_run.check_classes(load(overrides=[f"output_root={tmp_path}", *changes]))


def test_other_classes_for_a_served_pipeline_name_are_refused(tmp_path: Path) -> None:
    settings = load(overrides=[f"output_root={tmp_path}", "data.class_names=[ant, bee]"])
    _past_run(tmp_path, "2026-01-02T00-00-00", None)
    (tmp_path / "runs" / "2026-01-03T00-00-00").mkdir()  # killed by an earlier version
    local_run.check_classes(settings)
    _past_run(tmp_path, "2026-01-01T00-00-00", "7")
    with pytest.raises(InputError) as caught:
        local_run.check_classes(settings)
    named = ("data.class_names", "cat and dog", "[ant, bee]", "--set pipeline_name=ant-bee")
    assert all(name in str(caught.value) for name in named)
