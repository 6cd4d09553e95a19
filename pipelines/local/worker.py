"""The child process of `catsdogs run`: imports TFX, runs the pipeline, sends its parent the run's record.

`python -m pipelines.local.worker RUN_DIR --record FD [--from STEP [--again RUN]] [--to STEP]
[--pipeline MODULE:FUNCTION]`
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import logging
import os
import select
import signal
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import NoReturn

from pipelines.local.failure import explain, is_expected
from pipelines.runs.run_record import INTERRUPTED, RunRecord
from pipelines.settings.loading import load
from pipelines.settings.tree import Settings

PIPELINE = "pipelines.pipeline:build"
SETTINGS, OVERRIDE = "settings.yaml", "override.json"  # in the run's folder
PROGRESS_LOGGER = "catsdogs.progress"


def main() -> NoReturn:
    """Runs the pipeline once and ends the process with the run's exit status."""
    options = _options()
    _end_with_parent(options.record)
    interrupt = Interrupt()
    signal.signal(signal.SIGTERM, interrupt)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.captureWarnings(True)
    record = RunRecord(run_id=options.run_dir.name)
    sender = Sender(record, options.record)
    logging.getLogger(PROGRESS_LOGGER).addHandler(sender)
    settings = load(str(options.run_dir / SETTINGS))
    try:
        _run(options, settings, record, sender, interrupt)
        status = 0
    except BaseException as error:
        if interrupt.came or isinstance(error, KeyboardInterrupt):
            status = INTERRUPTED
        else:
            logging.exception("The run cannot go on.")
            sentence = explain(error, settings.output_root)
            record.message, record.is_expected = str(sentence), is_expected(error)
            status = record.exit_status = sentence.exit_status
            sender.send()
    # Not sys.exit: threads of a library may still be waiting for something that never comes.
    _flush()
    os._exit(status)


class Interrupt:
    """A signal's handler, which remembers that it came: a library may make an exception of its own of it.

    Attributes:
        came: Whether the signal has come.
    """

    came = False

    def __call__(self, _signal: int, _frame: FrameType | None) -> NoReturn:
        """Raises KeyboardInterrupt."""
        self.came = True
        raise KeyboardInterrupt


class Sender(logging.Handler):
    """Sends the record to the parent, one JSON line for each change; threads may share it.

    As a handler it takes what is logged for the step at work as its progress.

    Args:
        record: What is sent.
        fd: The child's end of the pipe.
    """

    def __init__(self, record: RunRecord, fd: int) -> None:
        super().__init__(logging.INFO)
        self._record = record
        self._fd = fd
        self._sending = threading.Lock()

    def send(self) -> None:
        """Writes the record as it is now."""
        with self._sending:
            line = self._record.model_dump_json().encode() + b"\n"
            while line:
                line = line[os.write(self._fd, line) :]

    def emit(self, record: logging.LogRecord) -> None:
        """Writes how far the step is."""
        step = self._record.running
        if step:
            self._record.steps[step].text = record.getMessage()
            self.send()


def open_log(run_dir: Path, position: int, step: str) -> None:
    """Sends all output of this process, that of C++ libraries included, to the log of a step from here on."""
    _flush()
    fd = os.open(log_path(run_dir, position, step), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)


def log_path(run_dir: Path, position: int, step: str) -> Path:
    """Returns the file that holds the log of a step."""
    return run_dir / "logs" / f"{position:02}-{step}.log"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("run_dir", type=Path)
    parser.add_argument("--record", metavar="FD", type=int, required=True)
    parser.add_argument("--from", dest="from_step")
    parser.add_argument("--again", metavar="RUN", help="the run that --from takes all else from")
    parser.add_argument("--to", dest="to_step")
    parser.add_argument("--pipeline", default=PIPELINE)
    return parser.parse_args()


def _run(
    options: argparse.Namespace,
    settings: Settings,
    record: RunRecord,
    sender: Sender,
    interrupt: Interrupt,
) -> None:
    gc.disable()  # what an import makes stays: to look through it again and again is a tenth of the start
    from pipelines.local.runner import ReportingRunner  # imports TFX, which takes 10 s and more

    module, _, function = options.pipeline.partition(":")
    override = options.run_dir / OVERRIDE
    decision = override.read_text(encoding="utf-8") if override.exists() else ""
    build = getattr(importlib.import_module(module), function)
    gc.freeze()
    gc.enable()
    pipeline = build(settings, override=decision)
    runner = ReportingRunner(
        record,
        sender.send,
        open_log=lambda position, step: open_log(options.run_dir, position, step),
        from_step=options.from_step,
        to_step=options.to_step,
        again=options.again,
        is_interrupted=lambda: interrupt.came,
    )
    runner.run(pipeline)


def _end_with_parent(record_fd: int) -> None:
    """Kills this process and its children as soon as nobody reads the record any more: the parent is gone."""
    os.set_inheritable(record_fd, False)

    def watch() -> None:
        poll = select.poll()
        poll.register(record_fd, 0)  # POLLERR is always reported
        poll.poll()
        os.killpg(0, signal.SIGKILL)

    if os.getpgrp() == os.getpid():
        threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # the disk is full: the run's own error says so
            stream.flush()


if __name__ == "__main__":
    main()
