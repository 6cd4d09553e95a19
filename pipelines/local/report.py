"""The last words of a run: what came out and why, where it lies, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipelines.local.asked import Asked
from pipelines.local.board import Board
from pipelines.local.events import State
from pipelines.local.summary import Check, Outcome
from pipelines.local.wording import duration, path, share
from pipelines.settings import Settings


def print_outcome(
    console: Console,
    board: Board,
    outcome: Outcome,
    seconds: float,
    run_dir: Path,
    report: Path | None,
    advice: Sequence[str],
) -> None:
    """Prints what came of a run that reached its end: verdict, figures, reasons, places, what is next."""
    rows = [("test", text) for text in [_figures(outcome)] if text]
    rows += _listed("why", [text for text in [outcome.sentence, *outcome.reasons] if text])
    rows += _listed("check", _checked(outcome.check)) if outcome.check else []
    rows += [("report", path(report))] if report else []
    rows += [("model", path(outcome.push.path))] if outcome.push else []
    rows += [("time", _time(board, seconds)), ("logs", path(run_dir / "logs")), *_listed("next", advice)]
    colour = "green" if outcome.exit_status == 0 else "yellow"
    console.print()
    console.print(Text(_headline(outcome, board), f"bold {colour}"), soft_wrap=True)
    for label, text in rows:  # Text, as a path may look like markup; soft_wrap, to copy it in one piece
        console.print(Text.assemble("  ", (f"{label:<6}", "bold"), "  ", text), soft_wrap=True)


def advise(outcome: Outcome, asked: Asked, settings: Settings, run_id: str) -> list[str]:
    """Returns the commands to type next, with what the user asked for, and what they do.

    Args:
        outcome: What came of the run.
        asked: The user's options.
        settings: What they led to.
        run_id: The run.
    """
    if outcome.push and outcome.push.missing:
        return [f"{asked.run(from_step='Pusher')}    pushes it again"]
    checked = outcome.check is None or outcome.check.passed
    if outcome.blessed is False:
        report = f"{asked.on('report', settings.output_root)}    shows why"
        if not checked:
            return [report, f"{asked.run(from_step='ServingCheck')}    checks it again"]
        epochs = max(5, 2 * settings.training.fine_tuning.epochs)
        bless = asked.on("bless", settings.output_root, run_id, "--reason", "TEXT")
        return [
            report,
            f"{asked.run(f'training.fine_tuning.epochs={epochs}')}    trains longer",
            f"{bless}    pushes it against the rules, if you know better",
        ]
    if not checked:
        return [f"{asked.run(from_step='ServingCheck')}    checks it again"]
    if outcome.push or outcome.not_pushed:
        return [f"{asked.on('runs', settings.output_root)}    lists this run beside earlier ones"]
    return [f"{asked.run()}    takes what is finished and goes on"]


def print_failure(console: Console, message: str, log: Path | None, going_on: str) -> None:
    """Prints what went wrong, where the details are, and how to go on."""
    console.print(Text(message, "bold red"), soft_wrap=True)
    if log:
        console.print(f"The details are in {path(log)}", highlight=False, markup=False, soft_wrap=True)
    if going_on:
        console.print(going_on, highlight=False, soft_wrap=True)


def how_to_go_on(board: Board, asked: Asked) -> str:
    """Returns a sentence where a step has finished, so that the next run need not do it again, else ""."""
    if not any(line.state.is_kept for line in board.lines.values()):
        return ""
    command = "the same command without --from" if asked.from_step else "the same command"
    return f"Finished steps are kept: {command} goes on where this one stopped."


def _headline(outcome: Outcome, board: Board) -> str:
    if outcome.push and outcome.push.missing:
        return f"The model was pushed earlier as version {outcome.push.version}, and is served no longer."
    if outcome.check and not outcome.check.passed:
        return "Not pushed: a server does not serve the model as it was judged."
    if outcome.blessed is False:
        return "Not blessed, and so not pushed."
    if outcome.push and outcome.push.earlier:
        return f"Nothing has changed: the model was pushed earlier as version {outcome.push.version}."
    if outcome.push:
        how = "Blessed against the rules" if outcome.overridden else "Blessed"
        return f"{f'{how} and pushed' if outcome.blessed else 'Pushed'} as version {outcome.push.version}."
    if outcome.not_pushed:
        return outcome.not_pushed
    if outcome.reached_pusher:
        return "The run reached its end, and nothing was pushed."
    last = [step for step, line in board.lines.items() if line.state.is_kept][-1:]
    return f"Done up to {last[0]}, as asked." if last else "There was nothing to do."


def _figures(outcome: Outcome) -> str:
    metrics, parts = outcome.metrics, []
    if "accuracy" in metrics:
        parts.append(f"accuracy {share(metrics['accuracy'], outcome.intervals.get('accuracy'))}")
    parts += [f"{name} {metrics[name]:.4f}" for name in ("auc", "loss") if name in metrics]
    if "examples" in metrics:
        parts.append(f"on {metrics['examples']:,.0f} pictures")
    return "  ".join(parts)


def _checked(check: Check) -> list[str]:
    if not check.passed:
        return check.problems
    difference = f"to {check.largest_difference:.1e}" if check.largest_difference else "exactly"
    times = ", ".join(f"{value:.3g} ms over {protocol}" for protocol, value in check.p95_ms.items())
    return [
        f"{check.server} answers {check.pictures} pictures as the Evaluator does, {difference}; "
        f"95 of 100 within {times}"
    ]


def _listed(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    return [("" if number else label, text) for number, text in enumerate(texts)]


def _time(board: Board, seconds: float) -> str:
    taken = sum(line.state in {State.CACHED, State.REUSED} for line in board.lines.values())
    total = sum(line.state is not State.SKIPPED for line in board.lines.values())
    return f"{duration(seconds)}, {taken} of {total} steps taken from earlier runs"
