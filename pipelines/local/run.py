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

from rich.console import Console

from components.errors import PipelineError
from pipelines import reports
from pipelines import settings as settings_module
from pipelines.local import lock, worker
from pipelines.local.asked import Asked
from pipelines.local.board import Board
from pipelines.local.display import Display, for_console
from pipelines.local.events import Event, Failed, State, decode
from pipelines.local.failure import disk_error, output_root_is
from pipelines.local.report import advise, how_to_go_on, print_failure, print_outcome
from pipelines.local.summary import INTERRUPTED, Summary
from pipelines.local.task import check_classes
from pipelines.local.wording import size
from pipelines.settings import Settings

if TYPE_CHECKING:
    from pipelines.bless_run import Decision

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
    asked: Asked,
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
    run_id = datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    run_dir = settings.runs_dir / run_id
    board = Board()
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
        with for_console(out, board) as display:
            code = _watch(arguments, run_dir, lock_fd, board, display)
    summary = _summary(run_id, board, code, time.monotonic() - started, settings.output_root)
    if _is_refused_at_once(board):
        shutil.rmtree(run_dir, ignore_errors=True)  # nothing has run, and the message says it all
    else:
        with contextlib.suppress(OSError):  # a full disk, which is what the message is about
            summary.write(run_dir)
    if summary.outcome:
        report = reports.copy(summary.outcome.report, run_dir) if summary.outcome.report else None
        advice = advise(summary.outcome, asked, settings, run_id)
        print_outcome(out, board, summary.outcome, summary.seconds, run_dir, report, advice)
    else:
        _print_failure(err, board, summary, run_dir, how_to_go_on(board, asked))
    return summary.exit_status


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


def _make_run_dir(run_dir: Path, settings: Settings, override: str) -> None:
    try:
        (run_dir / "logs").mkdir(parents=True)
        (run_dir / worker.SETTINGS).write_text(settings_module.dump(settings), encoding="utf-8")
        if override:
            (run_dir / worker.OVERRIDE).write_text(override, encoding="utf-8")
    except OSError as error:
        raise disk_error(error, settings.output_root) from error


def _watch(arguments: list[str], run_dir: Path, lock_fd: int, board: Board, display: Display) -> int:
    """Starts the child, follows it to its end, and returns its exit status (negative: a signal)."""
    read_fd, write_fd = os.pipe()
    with worker.log_path(run_dir, 0, "Start").open("wb") as log:
        child = subprocess.Popen(
            # -P: a folder called components or trainer in the working directory must not be taken for ours
            [sys.executable, "-P", "-m", worker.__name__, *arguments, "--events", str(write_fd)],
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
            for event in _events(read_fd, child):
                board.apply(event)
                display.show(event)
        except KeyboardInterrupt:
            display.say("Stopping…")
            _stop(child)
            for event in _events(read_fd, child):
                board.apply(event)
                display.show(event)
            board.end(State.STOPPED)
            return INTERRUPTED
        board.end(State.FAILED)
        return child.wait()
    finally:
        _stop(child)
        os.close(read_fd)


def _events(fd: int, child: subprocess.Popen[bytes]) -> Iterator[Event]:
    """Yields events until the child has ended; its own children may hold the pipe open for longer."""
    rest = b""
    while True:
        ended = child.poll() is not None
        ready, _, _ = select.select([fd], [], [], 0 if ended else 0.2)
        if ready:
            chunk = os.read(fd, 65536)
            *lines, rest = (rest + chunk).split(b"\n")
            yield from map(decode, lines)
            if not chunk:
                child.wait()
                return
        elif ended:
            return


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


def _summary(run_id: str, board: Board, code: int, seconds: float, output_root: Path) -> Summary:
    message = None
    if board.outcome:
        state, status = board.outcome.state, board.outcome.exit_status
    elif code == INTERRUPTED:  # whatever else may have failed on the way out
        state, status, message = "interrupted", INTERRUPTED, "Interrupted."
    elif board.failure:
        state, status, message = "failed", board.failure.exit_status, _cause(board, board.failure)
    else:
        state, status, message = "failed", 1, _death(board, code)
    return Summary(run_id, state, status, round(seconds, 2), board.steps(), board.outcome, message)


def _cause(board: Board, failure: Failed) -> str:
    step = board.last(State.FAILED)
    return failure.message if failure.expected or step is None else f"{step} failed: {failure.message}"


def _death(board: Board, code: int) -> str:
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
    step = board.last(State.FAILED)
    hint = ""
    if code == -signal.SIGKILL:
        hint = " If memory ran out, a smaller training.batch_size or beam.workers=1 helps."
    return f"The process that runs the steps {how}{f' during {step}' if step else ''}.{hint}"


def _is_refused_at_once(board: Board) -> bool:
    return board.failure is not None and board.failure.expected and not board.lines


def _print_failure(err: Console, board: Board, summary: Summary, run_dir: Path, going_on: str) -> None:
    message = summary.message or ""
    if summary.exit_status == INTERRUPTED:
        err.print(f"{message} {going_on}".rstrip(), highlight=False, soft_wrap=True)
    elif board.failure and board.failure.expected:
        print_failure(err, message, None, going_on)
    else:
        step = board.last(State.FAILED)
        log = worker.log_path(run_dir, board.position(step) if step else 0, step or "Start")
        print_failure(err, message, log, going_on)
