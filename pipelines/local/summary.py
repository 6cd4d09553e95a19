"""Prints the end of a run: the outcome and its reasons, the paths of its files, and the next commands."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipelines.formatting import format_duration, format_path, format_share
from pipelines.local.worker import log_path
from pipelines.runs.run_record import RunOutcome, RunRecord, ServingCheckOutcome, StepState
from pipelines.settings.configs import DEFAULT_CONFIG
from pipelines.settings.tree import Settings


@dataclass(frozen=True)
class RunOptions:
    """The options of `catsdogs run` as typed, so that suggested commands can repeat them.

    Attributes:
        config: `--config`.
        images: `--images`.
        overrides: Every `--set`.
        from_node: `--from`, the first node to run.
        to_node: `--to`, the last node to run.
    """

    config: str = DEFAULT_CONFIG
    images: Path | None = None
    overrides: tuple[str, ...] = ()
    from_node: str | None = None
    to_node: str | None = None

    @property
    def title(self) -> str:
        """The config, `--images` and every `--set` in one line."""
        images = [f"--images {self.images}"] if self.images else []
        return ", ".join([self.config, *images, *self.overrides])

    def run_command(self, *changes: str, from_node: str | None = None) -> str:
        """Returns the command that repeats this run from `from_node` to the last node.

        Args:
            changes: Settings (KEY=VALUE) that take precedence over the user's.
            from_node: The first node to run.
        """
        changed = {_setting_key(change) for change in changes}
        overrides = [override for override in self.overrides if _setting_key(override) not in changed]
        words = ["--config", self.config] if self.config != DEFAULT_CONFIG else []
        words += ["--images", str(self.images)] if self.images else []
        words += [word for override in [*overrides, *changes] for word in ("--set", override)]
        words += ["--from", from_node] if from_node else []
        return shlex.join(["catsdogs", "run", *words])

    def other_command(self, command: str, output_root: Path, *words: str) -> str:
        """Returns another command, with `--set output_root` if the user chose the output root."""
        is_set = self.config != DEFAULT_CONFIG or "output_root" in map(_setting_key, self.overrides)
        root = ["--set", f"output_root={output_root}"] if is_set else []
        return shlex.join(["catsdogs", command, *words, *root])


def print_outcome(
    console: Console,
    record: RunRecord,
    outcome: RunOutcome,
    run_dir: Path,
    report: Path | None,
    commands: Sequence[str],
) -> None:
    """Prints the outcome of a complete run: headline, test metrics, reasons, paths, and next commands."""
    rows = [("test", text) for text in [_metrics_text(outcome)] if text]
    rows += _labelled_rows("why", [text for text in [outcome.sentence, *outcome.reasons] if text])
    rows += _labelled_rows("check", _check_texts(outcome.check)) if outcome.check else []
    rows += [("report", format_path(report))] if report else []
    rows += [("model", format_path(outcome.push.path))] if outcome.push else []
    rows += [("time", _time_text(record)), ("logs", format_path(run_dir / "logs"))]
    rows += _labelled_rows("next", commands)
    colour = "green" if outcome.exit_status == 0 else "yellow"
    console.print()
    console.print(Text(_headline(outcome, record), f"bold {colour}"), soft_wrap=True)
    for label, text in rows:  # Text, because a path may contain markup; soft_wrap keeps paths in one piece
        console.print(Text.assemble("  ", (f"{label:<6}", "bold"), "  ", text), soft_wrap=True)


def next_commands(outcome: RunOutcome, options: RunOptions, settings: Settings, run_id: str) -> list[str]:
    """Returns the commands that make sense next, each followed by what it does.

    Args:
        outcome: The run's outcome.
        options: The user's options, which the commands repeat.
        settings: The resolved settings.
        run_id: The run.
    """
    if outcome.push and outcome.push.no_longer_served:
        return [f"{options.run_command(from_node='Pusher')}    pushes the model again"]
    check_passed = outcome.check is None or outcome.check.passed
    check_again = f"{options.run_command(from_node='ServingCheck')}    repeats the serving check"
    if outcome.blessed is False:
        report = f"{options.other_command('report', settings.output_root)}    shows why"
        if not check_passed:
            return [report, check_again]
        epochs = max(5, 2 * settings.training.fine_tuning.epochs)
        bless = options.other_command("bless", settings.output_root, run_id, "--reason", "TEXT")
        return [
            report,
            f"{options.run_command(f'training.fine_tuning.epochs={epochs}')}    trains longer",
            f"{bless}    overrides the gate and pushes the model",
        ]
    if not check_passed:
        return [check_again]
    if outcome.push or outcome.not_pushed_reason:
        return [f"{options.other_command('runs', settings.output_root)}    lists all runs"]
    return [f"{options.run_command()}    runs the remaining steps"]


def print_failure(console: Console, record: RunRecord, run_dir: Path, options: RunOptions) -> None:
    """Prints the error, the path of the log with the details, and how to resume."""
    hint = resume_hint(record, options)
    if record.state == "interrupted":
        console.print(Text(f"{record.message} {hint}".rstrip()), soft_wrap=True)
        return
    console.print(Text(record.message or "", "bold red"), soft_wrap=True)
    if not record.is_expected:
        step = record.last_step_in(StepState.FAILED)
        log = log_path(run_dir, record.position(step) if step else 0, step or "Start")
        console.print(f"Details: {format_path(log)}", highlight=False, markup=False, soft_wrap=True)
    if hint:
        console.print(hint, highlight=False, soft_wrap=True)


def resume_hint(record: RunRecord, options: RunOptions) -> str:
    """Returns a sentence on how to resume the run; empty if no step is finished."""
    if not any(step.state.has_outputs for step in record.steps.values()):
        return ""
    command = "the same command without --from" if options.from_node else "the same command"
    return f"Finished steps are kept: {command} resumes the run where it stopped."


def _headline(outcome: RunOutcome, record: RunRecord) -> str:
    if outcome.push and outcome.push.no_longer_served:
        return (
            f"An earlier run pushed this model as version {outcome.push.version}, which is no longer served."
        )
    if outcome.check and not outcome.check.passed:
        return "Not pushed: the model failed the serving check."
    if outcome.blessed is False:
        return "Not blessed, not pushed."
    if outcome.push and outcome.push.already_pushed:
        return f"Nothing has changed: an earlier run pushed this model as version {outcome.push.version}."
    if outcome.push:
        verb = "Pushed"
        if outcome.blessed:
            verb = "Blessed by override and pushed" if outcome.overridden else "Blessed and pushed"
        return f"{verb} as version {outcome.push.version}."
    if outcome.not_pushed_reason:
        return outcome.not_pushed_reason
    if outcome.pusher_ran:
        return "The run is complete, but nothing was pushed."
    last = [name for name, step in record.steps.items() if step.state.has_outputs][-1:]
    return f"Complete up to {last[0]}." if last else "There was nothing to run."


def _metrics_text(outcome: RunOutcome) -> str:
    metrics, parts = outcome.metrics, []
    if "accuracy" in metrics:
        parts.append(f"accuracy {format_share(metrics['accuracy'], outcome.intervals.get('accuracy'))}")
    parts += [f"{name} {metrics[name]:.4f}" for name in ("auc", "loss") if name in metrics]
    if "examples" in metrics:
        parts.append(f"on {metrics['examples']:,.0f} images")
    return "  ".join(parts)


def _check_texts(check: ServingCheckOutcome) -> list[str]:
    if not check.passed:
        return check.problems
    difference = f"to within {check.largest_difference:.1e}" if check.largest_difference else "exactly"
    latencies = ", ".join(f"{value:.3g} ms over {protocol}" for protocol, value in check.p95_ms.items())
    return [
        f"predictions of {check.server} for {check.images} images match the Evaluator's {difference}; "
        f"p95 latency {latencies}"
    ]


def _labelled_rows(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Returns one row for each text, the label in the first only."""
    return [("" if index else label, text) for index, text in enumerate(texts)]


def _time_text(record: RunRecord) -> str:
    states = [step.state for step in record.steps.values() if step.state is not StepState.SKIPPED]
    reused = sum(state.is_from_earlier_run for state in states)
    return f"{format_duration(record.seconds or 0)}, {reused} of {len(states)} nodes cached"


def _setting_key(override: str) -> str:
    return override.partition("=")[0]
