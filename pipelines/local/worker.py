"""The worker process of `catsdogs run`: runs the pipeline with TFX and sends the run record to its parent.

`python -m pipelines.local.worker RUN_DIR --record FD [--from NODE [--base-run RUN]] [--to NODE]
[--pipeline MODULE:FUNCTION]`
"""

from __future__ import annotations

import argparse
import gc
import importlib
import io
import logging
import os
import select
import signal
import sys
import textwrap
import threading
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from components.errors import PipelineError, exception_chain, find_user_error, remove_beam_suffix
from pipelines.beam.arguments import runs_on_cluster
from pipelines.beam.job_server import start_job_server
from pipelines.beam.jobs import job_name, watch_jobs
from pipelines.disk_errors import find_disk_error
from pipelines.runs.run_record import EXIT_INTERRUPTED, RunRecord
from pipelines.settings.loading import load
from pipelines.settings.tree import Settings
from serving.printable import log_printable_lines, printable

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

DEFAULT_PIPELINE = "pipelines.pipeline:build"
SETTINGS_FILE, OVERRIDE_FILE = "settings.yaml", "override.json"  # in the run's folder
PROGRESS_LOGGER = "catsdogs.progress"
_MAX_LENGTH = 300  # characters; the first line of a TensorFlow error can be very long


def main() -> NoReturn:
    """Runs the pipeline once and exits with the run's status."""
    options = _parse_options()
    sys.stdout, sys.stderr = open_log_stream(1), open_log_stream(2)
    _exit_when_parent_exits(options.record)
    interrupt = InterruptHandler()
    signal.signal(signal.SIGTERM, interrupt)
    log_printable_lines()
    logging.captureWarnings(True)
    record = RunRecord(run_id=options.run_dir.name)
    sender = RecordSender(record, options.record)
    logging.getLogger(PROGRESS_LOGGER).addHandler(sender)
    settings = load(str(options.run_dir / SETTINGS_FILE))
    try:
        _run(options, settings, record, sender, interrupt)
        status = 0
    except BaseException as error:
        if interrupt.is_received or isinstance(error, KeyboardInterrupt):
            status = EXIT_INTERRUPTED
        else:
            logging.exception("The run failed.")
            user_error = to_pipeline_error(error, settings.output_root)
            record.message, record.is_expected = str(user_error), is_user_error(error)
            status = record.exit_status = user_error.exit_status
            sender.send()
    # Not sys.exit, which would wait for the threads of libraries, for ever in some cases.
    os._exit(status)


class LogFile(io.FileIO):
    """A log file that ignores what a full disk does not take.

    An exception would replace the error that is being printed: the threads of Beam print an error before they
    report it, and Beam waits for ever for a thread that has not reported.
    """

    def write(self, data: ReadableBuffer) -> int:
        """Writes the data, and returns the number of bytes written or ignored."""
        try:
            return super().write(data)
        except OSError:
            return memoryview(data).nbytes


def open_log_stream(fd: int) -> io.TextIOWrapper:
    """Returns an unbuffered text stream that writes to a file descriptor and raises no OSError."""
    file = LogFile(fd, "wb", closefd=False)
    return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", write_through=True)


class InterruptHandler:
    """Handles SIGTERM, and stores that it was received: a library may replace the KeyboardInterrupt.

    Attributes:
        is_received: True once the signal was received.
    """

    is_received = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> NoReturn:
        """Raises KeyboardInterrupt."""
        self.is_received = True
        raise KeyboardInterrupt


class RecordSender(logging.Handler):
    """Sends the run record to the parent, as one JSON line after each change. Thread-safe.

    As a logging handler, it stores each message as the progress of the running step.

    Args:
        record: The run record.
        fd: The worker's end of the pipe.
    """

    def __init__(self, record: RunRecord, fd: int) -> None:
        super().__init__(logging.INFO)
        self._record = record
        self._fd = fd
        self._lock = threading.Lock()

    def send(self) -> None:
        """Writes the current record."""
        with self._lock:
            line = self._record.model_dump_json().encode() + b"\n"
            while line:
                line = line[os.write(self._fd, line) :]

    def emit(self, record: logging.LogRecord) -> None:
        """Stores the message as the running step's progress, and sends the record."""
        step = self._record.running_step
        if step:
            self._record.steps[step].text = printable(record.getMessage())
            self.send()


def to_pipeline_error(error: BaseException, output_root: Path) -> PipelineError:
    """Converts an exception into a PipelineError.

    Args:
        error: The exception.
        output_root: The folder to name if the disk is full or read-only.

    Returns:
        The PipelineError in the exception chain, if there is one; an error about the disk; or the type and
        first line of the exception.
    """
    user_error = find_user_error(error)
    if user_error:
        return user_error
    for link in exception_chain(error):
        disk_error = find_disk_error(link, output_root)
        if disk_error:
            return disk_error
    lines = str(error).strip().splitlines()
    text = remove_beam_suffix(lines[0]) if lines else "no message"
    return PipelineError(f"{type(error).__name__}: {textwrap.shorten(text, _MAX_LENGTH, placeholder=' …')}")


def is_user_error(error: BaseException) -> bool:
    """Returns True if the exception chain has a PipelineError, to which the log adds nothing."""
    return find_user_error(error) is not None


def redirect_output_to_log(run_dir: Path, position: int, step: str) -> None:
    """Redirects all output of this process, including that of C++ libraries, to the log of a step."""
    fd = os.open(log_path(run_dir, position, step), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def log_path(run_dir: Path, position: int, step: str) -> Path:
    """Returns the path of a step's log."""
    return run_dir / "logs" / f"{position:02}-{step}.log"


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--record", metavar="FD", type=int, required=True)
    parser.add_argument("--from", dest="from_node")
    parser.add_argument(
        "--base-run", metavar="RUN", help="the run whose outputs the nodes before --from reuse"
    )
    parser.add_argument("--to", dest="to_node")
    parser.add_argument("--pipeline", default=DEFAULT_PIPELINE)
    return parser.parse_args()


def _run(
    options: argparse.Namespace,
    settings: Settings,
    record: RunRecord,
    sender: RecordSender,
    interrupt: InterruptHandler,
) -> None:
    gc.disable()  # imported objects stay alive: collecting garbage during imports is a tenth of the start-up
    from pipelines.local.runner import ReportingRunner  # imports TFX, which takes 10 s and more

    module, _, function = options.pipeline.partition(":")
    override_path = options.run_dir / OVERRIDE_FILE
    override = override_path.read_text(encoding="utf-8") if override_path.exists() else ""
    build = getattr(importlib.import_module(module), function)
    gc.freeze()
    gc.enable()
    with start_job_server(settings.beam, settings.output_root / "job-server") as beam:
        settings = settings.model_copy(update={"beam": beam})
        pipeline = build(settings, override=override)
        if beam.runner == "flink" and beam.flink.environment == "external":
            _check_workers(settings, options.run_dir)
        runner = ReportingRunner(
            record,
            sender.send,
            open_log=lambda position, step: redirect_output_to_log(options.run_dir, position, step),
            from_node=options.from_node,
            to_node=options.to_node,
            base_run_id=options.base_run,
            is_interrupted=lambda: interrupt.is_received,
            watch=lambda step: _watch(settings, step),
        )
        runner.run(pipeline)


def _check_workers(settings: Settings, run_dir: Path) -> None:
    from pipelines.beam.probe import check_workers

    data = settings.data
    images = {"folder": data.folder, "tfds": data.tfds.data_dir}.get(data.source)
    paths = [str(run_dir / SETTINGS_FILE), *([str(images)] if images and images.exists() else [])]
    check_workers(settings.beam, paths, job_name(settings, "WorkerCheck"))


def _watch(settings: Settings, step: str) -> AbstractContextManager[None]:
    if not runs_on_cluster(settings.beam, step):
        return nullcontext()
    return watch_jobs(settings.beam.flink, step, job_name(settings, step))


def _exit_when_parent_exits(record_fd: int) -> None:
    """Kills this process and its children when the parent closes its end of the pipe, or dies."""
    os.set_inheritable(record_fd, False)

    def watch() -> None:
        poll = select.poll()
        poll.register(record_fd, 0)  # POLLERR is always reported
        poll.poll()
        os.killpg(0, signal.SIGKILL)

    if os.getpgrp() == os.getpid():
        threading.Thread(target=watch, name="parent-watch", daemon=True).start()


if __name__ == "__main__":
    main()
