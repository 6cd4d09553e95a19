"""The parent of a local run: checks, then a child at work, its steps on the terminal, a summary."""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import yaml
from rich.console import Console

from components.errors import InputError, PipelineError
from pipelines.disk_errors import disk_error, output_root_is
from pipelines.formatting import size
from pipelines.local import worker
from pipelines.local.progress import Display, for_console
from pipelines.local.summary import RunOptions, advise, print_failure, print_outcome
from pipelines.runs import lock, reports, run_folders, run_record
from pipelines.runs.run_record import INTERRUPTED, RunRecord, State
from pipelines.settings.loading import dump
from pipelines.settings.tree import Settings

if TYPE_CHECKING:
    from pipelines.local.override import Decision

MIN_FREE_BYTES = 1_000_000_000
GRACE = 10.0  # seconds that a child gets to stop cleanly

# What keeps the child quiet and modest; the user's own environment has the last word.
_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # one process runs all steps: none may take the whole GPU
    "KERAS_BACKEND": "tensorflow",
    "PYTHONFAULTHANDLER": "1",
}


def run(
    settings: Settings,
    asked: RunOptions,
    pipeline: str = worker.PIPELINE,
    decision: Decision | None = None,
) -> int:
    """Runs the pipeline on this machine and shows how it goes.

    Args:
        settings: The resolved settings.
        asked: The user's options, which led to these settings.
        pipeline: `module:function` that builds the pipeline from the settings and an override.
        decision: A person's on the model of an earlier run, whose end then runs again; None leaves the model
            to the rules.

    Returns:
        The exit status: 0 blessed and pushed (or stopped at `to_step`), 3 refused, 130 interrupted, else what
        the error says.

    Raises:
        PipelineError: The run cannot start.
        InputError: The decision cannot be taken.
    """
    started = time.monotonic()
    out, err = Console(), Console(stderr=True)
    check_disk(settings.output_root)
    check_classes(settings)
    run_id = datetime.now().strftime(run_record.RUN_ID_FORMAT)
    run_dir = settings.runs_dir / run_id
    with lock.hold(settings.output_root, f"run {run_id}") as lock_fd, _signals_interrupt():
        override = decision.taken() if decision else ""
        _make_run_dir(run_dir, settings, override)
        if decision:
            decision.record(override, run_id)
        out.print(f"Run {run_id}: {asked.title}", highlight=False, markup=False, soft_wrap=True)
        arguments = [str(run_dir), "--pipeline", pipeline]
        arguments += ["--from", asked.from_step] if asked.from_step else []
        arguments += ["--again", decision.run_id, "--from", decision.first_step] if decision else []
        arguments += ["--to", asked.to_step] if asked.to_step else []
        with for_console(out) as display:
            record, code = _watch(arguments, run_dir, lock_fd, display)
        status = _close(record, code, time.monotonic() - started)
        if record.is_expected and not record.steps:
            shutil.rmtree(run_dir, ignore_errors=True)  # nothing has run, and the message says it all
        else:
            _write(record, run_dir)
    if record.outcome:
        report = reports.copy(record.outcome.report, run_dir) if record.outcome.report else None
        advice = advise(record.outcome, asked, settings, run_id)
        print_outcome(out, record, record.outcome, run_dir, report, advice)
    else:
        print_failure(err, record, run_dir, asked)
    return status


def check_disk(output_root: Path) -> None:
    """Checks that there is a place for what a run writes.

    Raises:
        PipelineError: The folder cannot be made or written, or its disk has no room for a run.
    """
    try:
        output_root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=output_root):
            pass
    except OSError as error:
        raise disk_error(error, output_root) from error
    free = shutil.disk_usage(output_root).free
    if free < MIN_FREE_BYTES:
        raise PipelineError(
            f"Only {size(free)} are free on the disk that holds {output_root}, and a run needs "
            f"{size(MIN_FREE_BYTES)} or more: free some space "
            f"(catsdogs clean --set {output_root_is(output_root)} removes old runs), "
            "or use another disk (--set output_root=DIR)."
        )


def check_classes(settings: Settings) -> None:
    """Compares the classes with those of the last run that pushed a model under this pipeline's name.

    A model for other classes must not take the served model's place.

    Raises:
        InputError: They are others.
    """
    now = settings.data.class_names
    for run_id in run_folders.run_ids(settings):
        run_dir = settings.runs_dir / run_id
        outcome = run_record.read(run_dir).outcome
        if not outcome or not outcome.push:
            continue
        try:
            earlier = yaml.safe_load((run_dir / worker.SETTINGS).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if earlier["pipeline_name"] != settings.pipeline_name:
            continue
        before = earlier["data"]["class_names"]
        if before != list(now):
            raise InputError(
                f"The pipeline {settings.pipeline_name!r} in {settings.output_root} serves a model for "
                f"{' and '.join(before)}, and data.class_names is now [{', '.join(now)}]: give the new one "
                f"a name of its own (--set pipeline_name={'-'.join(now).lower().replace('_', '-')}), or "
                "another --set output_root=DIR."
            )
        return


def _make_run_dir(run_dir: Path, settings: Settings, override: str) -> None:
    try:
        (run_dir / "logs").mkdir(parents=True)
        (run_dir / worker.SETTINGS).write_text(dump(settings), encoding="utf-8")
        if override:
            (run_dir / worker.OVERRIDE).write_text(override, encoding="utf-8")
        RunRecord(run_id=run_dir.name).write(run_dir)
    except OSError as error:
        raise disk_error(error, settings.output_root) from error


def _watch(arguments: list[str], run_dir: Path, lock_fd: int, display: Display) -> tuple[RunRecord, int]:
    """Starts the child and follows it to its end.

    Returns:
        The last record that it sent, in which no step is at work any more, and its exit status (negative: a
        signal).
    """
    record = RunRecord(run_id=run_dir.name)
    read_fd, write_fd = os.pipe()
    with worker.log_path(run_dir, 0, "Start").open("wb") as log:
        child = subprocess.Popen(
            # -P: a folder called components or trainer in the working directory must not be taken for ours
            [sys.executable, "-P", "-m", worker.__name__, *arguments, "--record", str(write_fd)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(write_fd, lock_fd),
            start_new_session=True,  # Ctrl-C reaches the parent alone, which stops the child in order
            env=_ENVIRONMENT | os.environ,
        )
    os.close(write_fd)
    try:
        try:
            for record in _sent(read_fd, child):
                _write(record, run_dir)
                display.show(record)
            code = child.wait()
        except KeyboardInterrupt:
            display.say("Stopping…")
            _stop(child)
            for record in _sent(read_fd, child):
                display.show(record)
            code = INTERRUPTED
        step = record.steps.get(record.running or "")
        if step:
            step.state = State.STOPPED if code == INTERRUPTED else State.FAILED
            step.seconds = round(time.time() - (step.started or 0), 2)
            display.show(record)
        return record, code
    finally:
        _stop(child)
        os.close(read_fd)


def _sent(fd: int, child: subprocess.Popen[bytes]) -> Iterator[RunRecord]:
    """Yields what the child sends until it has ended; its own children may hold the pipe open for longer."""
    rest = b""
    while True:
        ended = child.poll() is not None
        ready, _, _ = select.select([fd], [], [], 0 if ended else 0.2)
        if ready:
            chunk = os.read(fd, 65536)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):  # after Ctrl-C the first may lack its beginning
                    yield RunRecord.model_validate_json(line)
            if not chunk:
                child.wait()
                return
        elif ended:
            return


def _write(record: RunRecord, run_dir: Path) -> None:
    with contextlib.suppress(OSError):  # a full disk: what the child says of it is what the user is to hear
        record.write(run_dir)


def _stop(child: subprocess.Popen[bytes]) -> None:
    """Ends the child and its children: by request, then, after GRACE or a second Ctrl-C, by force."""
    try:
        if child.poll() is None:
            child.terminate()
            child.wait(GRACE)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextlib.contextmanager
def _signals_interrupt() -> Iterator[None]:
    """Lets a request to end, or a closed terminal, do what Ctrl-C does, unless it is ignored (nohup)."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    earlier = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in earlier.items():
            signal.signal(number, handler)


def _close(record: RunRecord, code: int, seconds: float) -> int:
    """Completes the record of a run whose child has ended, and returns the command's exit status."""
    record.seconds = round(seconds, 2)
    failed = record.last(State.FAILED)
    if record.outcome:
        status = record.outcome.exit_status
        record.state = "refused" if status else "done"
    elif code == INTERRUPTED:  # whatever else may have failed on the way out
        record.state, status, record.message = "interrupted", INTERRUPTED, "Interrupted."
    else:
        record.state, status = "failed", record.exit_status or 1
        if record.message is None:
            record.message = _death(code, failed)
        elif failed and not record.is_expected:
            record.message = f"{failed} failed: {record.message}"
    record.exit_status = status
    return status


def _death(code: int, step: str | None) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    hint = ""
    if code == -signal.SIGKILL:
        hint = " If memory ran out, a smaller training.batch_size or beam.workers=1 helps."
    return f"The process that runs the steps {how}{f' during {step}' if step else ''}.{hint}"
