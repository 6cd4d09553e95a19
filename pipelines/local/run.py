"""The parent process of a local run: starts the worker, displays its progress, and writes the run record."""

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
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

import yaml
from rich.console import Console

from components.errors import InputError, PipelineError
from pipelines.console import PrintableConsole, print_line
from pipelines.disk_errors import MIN_FREE_BYTES, disk_error, output_root_is
from pipelines.formatting import format_size
from pipelines.local import worker
from pipelines.local.progress import Display, create_display
from pipelines.local.summary import RunOptions, next_commands, print_failure, print_outcome
from pipelines.runs import lock, output_root, reports, run_folders, run_record
from pipelines.runs.run_record import EXIT_INTERRUPTED, RunRecord, StepState
from pipelines.settings.loading import dump
from pipelines.settings.tree import Settings

if TYPE_CHECKING:
    from pipelines.local.override import OverrideRequest

STOP_TIMEOUT_SECONDS = 10.0  # until the worker is killed

# Defaults for the worker; the user's environment overrides them.
_WORKER_ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "1",
    "TF_FORCE_GPU_ALLOW_GROWTH": "true",  # one process runs all steps: no step may allocate the whole GPU
    "KERAS_BACKEND": "tensorflow",
    "PYTHONFAULTHANDLER": "1",
}


def run_locally(
    settings: Settings,
    options: RunOptions,
    pipeline: str = worker.DEFAULT_PIPELINE,
    override_request: OverrideRequest | None = None,
) -> int:
    """Runs the pipeline on this machine and displays its progress.

    Args:
        settings: The resolved settings.
        options: The user's options.
        pipeline: `module:function` that builds the pipeline from the settings and an override.
        override_request: A request to bless the model of an earlier run, whose last nodes then run again.
            None leaves the verdict to the gate's rules.

    Returns:
        The exit status: 0 blessed and pushed (or stopped at `to_node`), 3 not pushed, 130 interrupted,
        otherwise the error's status.

    Raises:
        PipelineError: The run cannot start.
        InputError: The override request is not valid.
    """
    started = time.monotonic()
    out, err = PrintableConsole(), PrintableConsole(stderr=True)
    check_disk(settings.output_root)
    output_root.check_usable(settings)
    check_classes(settings)
    run_id = run_folders.new_run_id(settings)
    run_dir = settings.runs_dir / run_id
    with lock.acquire(settings.output_root, f"run {run_id}") as lock_fd, _raise_on_signals():
        override = override_request.to_override() if override_request else ""
        output_root.prepare(settings)
        if settings.beam.runner == "flink":
            settings = _prepare_cluster(settings, out)
        _make_run_dir(run_dir, settings, override)
        if override_request:
            override_request.append_to_run(override, run_id)
        print_line(out, f"Run {run_id}: {options.title}")
        arguments = [str(run_dir), "--pipeline", pipeline]
        arguments += ["--from", options.from_node] if options.from_node else []
        if override_request:
            arguments += ["--base-run", override_request.run_id, "--from", override_request.first_node]
        arguments += ["--to", options.to_node] if options.to_node else []
        with create_display(out) as display:
            record, worker_status = _run_worker(arguments, run_dir, lock_fd, display)
        status = complete_record(record, worker_status, time.monotonic() - started)
        if record.is_expected and not record.steps:
            shutil.rmtree(run_dir, ignore_errors=True)  # nothing has run, and the message is enough
        else:
            _write_record(record, run_dir)
    if record.outcome:
        report = reports.copy(record.outcome.report, run_dir) if record.outcome.report else None
        commands = next_commands(record.outcome, options, settings, run_id)
        print_outcome(out, record, record.outcome, run_dir, report, commands)
    else:
        print_failure(err, record, run_dir, options)
    return status


def check_disk(output_root: Path) -> None:
    """Checks that the output root is writable and has enough free space for a run.

    Raises:
        PipelineError: The folder cannot be created or written, or its disk is too full.
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
            f"The disk of {output_root} has {format_size(free)} free, and a run needs at least "
            f"{format_size(MIN_FREE_BYTES)}: free some space "
            f"(catsdogs clean --set {output_root_is(output_root)} removes old runs), "
            "or use another disk (--set output_root=DIR)."
        )


def check_classes(settings: Settings) -> None:
    """Checks that the classes are those of the last run that pushed a model for this pipeline name.

    A model for different classes must not replace the served model.

    Raises:
        InputError: The classes differ.
    """
    class_names = settings.data.class_names
    for run_id in run_folders.run_ids(settings):
        run_dir = settings.runs_dir / run_id
        outcome = run_record.read_record(run_dir).outcome
        if not outcome or not outcome.push:
            continue
        try:
            earlier = yaml.safe_load((run_dir / worker.SETTINGS_FILE).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue
        if earlier["pipeline_name"] != settings.pipeline_name:
            continue
        served_classes = earlier["data"]["class_names"]
        if served_classes != list(class_names):
            new_name = "-".join(class_names).lower().replace("_", "-")
            raise InputError(
                f"The pipeline {settings.pipeline_name!r} in {settings.output_root} serves a model for "
                f"{' and '.join(served_classes)}, and data.class_names is now [{', '.join(class_names)}]: "
                f"choose another pipeline name (--set pipeline_name={new_name}) or another output root "
                "(--set output_root=DIR)."
            )
        return


def _prepare_cluster(settings: Settings, out: Console) -> Settings:
    """Returns the settings with what they leave to the Flink cluster."""
    from pipelines.beam.checks import prepare_cluster
    from pipelines.beam.jobs import job_name

    beam, cancelled_jobs = prepare_cluster(settings.beam, job_name(settings))
    for name in cancelled_jobs:
        print_line(out, f"Cancelled the Flink job {name} of an earlier run that was killed.")
    return settings.model_copy(update={"beam": beam})


def _make_run_dir(run_dir: Path, settings: Settings, override: str) -> None:
    try:
        (run_dir / "logs").mkdir(parents=True)
        (run_dir / worker.SETTINGS_FILE).write_text(dump(settings), encoding="utf-8")
        if override:
            (run_dir / worker.OVERRIDE_FILE).write_text(override, encoding="utf-8")
        RunRecord(run_id=run_dir.name).write(run_dir)
    except OSError as error:
        raise disk_error(error, settings.output_root) from error


def _run_worker(arguments: list[str], run_dir: Path, lock_fd: int, display: Display) -> tuple[RunRecord, int]:
    """Starts the worker and displays its progress until it ends.

    Returns:
        The last record that the worker sent, in which no step is `running`, and the worker's exit status
        (negative: the signal that killed it).
    """
    record = RunRecord(run_id=run_dir.name)
    read_fd, write_fd = os.pipe()
    with worker.log_path(run_dir, 0, "Start").open("wb") as log:
        process = subprocess.Popen(
            # -P: never import a folder named components or trainer from the working directory
            [sys.executable, "-P", "-m", worker.__name__, *arguments, "--record", str(write_fd)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            pass_fds=(write_fd, lock_fd),
            start_new_session=True,  # only the parent receives Ctrl-C, and stops the worker cleanly
            env=_WORKER_ENVIRONMENT | os.environ,
        )
    os.close(write_fd)
    try:
        try:
            for record in _receive_records(read_fd, process):
                _write_record(record, run_dir)
                display.show(record)
            status = process.wait()
        except KeyboardInterrupt:
            display.show_message("Stopping…")
            _stop_worker(process)
            for record in _receive_records(read_fd, process):
                display.show(record)
            status = EXIT_INTERRUPTED
        step = record.steps.get(record.running_step or "")
        if step:
            step.state = StepState.STOPPED if status == EXIT_INTERRUPTED else StepState.FAILED
            step.seconds = round(time.time() - (step.started or 0), 2)
            display.show(record)
        return record, status
    finally:
        _stop_worker(process)
        os.close(read_fd)


def _receive_records(fd: int, process: subprocess.Popen[bytes]) -> Iterator[RunRecord]:
    """Yields the records that the worker sends until it ends; its children may keep the pipe open longer."""
    rest = b""
    while True:
        has_ended = process.poll() is not None
        ready, _, _ = select.select([fd], [], [], 0 if has_ended else 0.2)
        if ready:
            chunk = os.read(fd, 65536)
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                with contextlib.suppress(ValueError):  # after Ctrl-C the first line may be incomplete
                    yield RunRecord.model_validate_json(line)
            if not chunk:
                process.wait()
                return
        elif has_ended:
            return


def _write_record(record: RunRecord, run_dir: Path) -> None:
    with contextlib.suppress(OSError):  # on a full disk, the worker's error is the one to print
        record.write(run_dir)


def _stop_worker(process: subprocess.Popen[bytes]) -> None:
    """Terminates the worker; kills it and its children after a timeout or a second Ctrl-C."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_TIMEOUT_SECONDS)
    except (subprocess.TimeoutExpired, KeyboardInterrupt):
        pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _raise_on_signals() -> Iterator[None]:
    """Raises KeyboardInterrupt on SIGTERM and SIGHUP, too, unless the signal is ignored (as by nohup)."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    original_handlers = {
        number: signal.signal(number, interrupt)
        for number in (signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in original_handlers.items():
            signal.signal(number, handler)


def complete_record(record: RunRecord, worker_status: int, seconds: float) -> int:
    """Completes the record of a run whose worker has ended, and returns the command's exit status."""
    record.seconds = round(seconds, 2)
    failed_step = record.last_step_in(StepState.FAILED)
    if record.outcome:
        status = record.outcome.exit_status
        record.state = "refused" if status else "done"
    elif worker_status == EXIT_INTERRUPTED:  # also if a step failed while the worker stopped
        record.state, status, record.message = "interrupted", EXIT_INTERRUPTED, "Interrupted."
    else:
        record.state, status = "failed", record.exit_status or 1
        if record.message is None:
            record.message = _describe_worker_exit(worker_status, failed_step)
        elif failed_step and not record.is_expected:
            record.message = f"{failed_step} failed: {record.message}"
    record.exit_status = status
    return status


def _describe_worker_exit(status: int, step: str | None) -> str:
    end = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
    hint = ""
    if status == -signal.SIGKILL:
        hint = " If memory ran out, set a smaller training.batch_size or beam.workers=1."
    return f"The worker process {end}{f' during {step}' if step else ''}.{hint}"
