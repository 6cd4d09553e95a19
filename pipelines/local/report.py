"""The last words of a run: what came out and why, where it lies, and what to type next."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from pipelines.local.board import Board
from pipelines.local.events import State
from pipelines.local.summary import Outcome
from pipelines.local.wording import duration, path


def print_outcome(console: Console, board: Board, outcome: Outcome, seconds: float, run_dir: Path) -> None:
    """Prints what came of a run that reached its end: verdict, metrics, reasons, places, what is next."""
    good = outcome.exit_status == 0
    table = Table.grid(padding=(0, 2))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    if outcome.metrics:
        table.add_row("test", _metrics(outcome.metrics))
    for number, reason in enumerate(outcome.reasons):
        table.add_row("" if number else "why", reason)
    if outcome.push:
        table.add_row("model", path(outcome.push.path))
    table.add_row("time", _time(board, seconds))
    table.add_row("logs", path(run_dir / "logs"))
    table.add_row("next", _next(outcome))
    console.print()
    console.print(Text(_headline(outcome, board), "bold green" if good else "bold yellow"), soft_wrap=True)
    console.print(Padding(table, (0, 0, 0, 2)), highlight=False)


def print_failure(console: Console, board: Board, message: str, log: Path | None) -> None:
    """Prints what went wrong, where the details are, and how to go on."""
    console.print(Text(message, "bold red"), soft_wrap=True)
    if log:
        console.print(f"The details are in {path(log)}", highlight=False, markup=False, soft_wrap=True)
    if kept(board):
        console.print(
            "Finished steps are kept: the same command goes on where this one stopped.", highlight=False
        )


def kept(board: Board) -> bool:
    """Whether a step has finished, so that the next run need not do it again."""
    return any(line.state.is_kept for line in board.lines.values())


def _headline(outcome: Outcome, board: Board) -> str:
    if outcome.push and outcome.push.missing:
        return (
            f"The model was pushed earlier as version {outcome.push.version}, and that folder is gone: "
            "nothing is served."
        )
    if outcome.blessed is False:
        return "Not blessed, and so not pushed: the model does not reach what is asked of it."
    if outcome.push and outcome.push.earlier:
        return f"Nothing has changed: the model was pushed earlier as version {outcome.push.version}."
    if outcome.push:
        return f"{'Blessed and pushed' if outcome.blessed else 'Pushed'} as version {outcome.push.version}."
    if outcome.reached_pusher:
        return "The run reached its end, and nothing was pushed."
    last = [step for step, line in board.lines.items() if line.state.is_kept][-1:]
    return f"Done up to {last[0]}, as asked." if last else "There was nothing to do."


def _metrics(metrics: dict[str, float]) -> str:
    parts = [f"accuracy {metrics['accuracy']:.2%}"] if "accuracy" in metrics else []
    parts += [f"{name} {metrics[name]:.4f}" for name in ("auc", "loss") if name in metrics]
    if "examples" in metrics:
        parts.append(f"on {metrics['examples']:,.0f} pictures")
    return "  ".join(parts)


def _time(board: Board, seconds: float) -> str:
    taken = sum(line.state in {State.CACHED, State.REUSED} for line in board.lines.values())
    total = sum(line.state is not State.SKIPPED for line in board.lines.values())
    return f"{duration(seconds)}, {taken} of {total} steps taken from earlier runs"


def _next(outcome: Outcome) -> str:
    if outcome.push and outcome.push.missing:
        return "catsdogs run --from Pusher    pushes it again"
    if outcome.blessed is False:
        return "catsdogs run --set training.fine_tuning.epochs=5    trains longer"
    if outcome.push:
        return "catsdogs runs    lists this run beside earlier ones"
    return "catsdogs run    takes what is finished and goes on"
