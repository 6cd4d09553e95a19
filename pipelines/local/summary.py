"""The last words of a run: what came out and why, where it lies, and what to type next."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.text import Text

from pipelines.formatting import duration, path, share
from pipelines.local.worker import log_path
from pipelines.runs.run_record import Check, Outcome, RunRecord, State
from pipelines.settings.configs import DEFAULT_CONFIG
from pipelines.settings.tree import Settings


@dataclass(frozen=True)
class RunOptions:
    """The options of `catsdogs run`, as they were typed, so that advice can repeat them.

    Attributes:
        config: `--config`.
        images: `--images`.
        overrides: Every `--set`.
        from_step: `--from`, the first step to run anew.
        to_step: `--to`, the last step to run.
    """

    config: str = DEFAULT_CONFIG
    images: Path | None = None
    overrides: tuple[str, ...] = ()
    from_step: str | None = None
    to_step: str | None = None

    @property
    def title(self) -> str:
        """What is run, in a line."""
        images = [f"--images {self.images}"] if self.images else []
        return ", ".join([self.config, *images, *self.overrides])

    def run(self, *changes: str, from_step: str | None = None) -> str:
        """Returns the command that runs the same from `from_step` to the end.

        Args:
            changes: Settings (KEY=VALUE) that take the place of the user's.
            from_step: The first step to run anew.
        """
        changed = {_key(change) for change in changes}
        kept = [override for override in self.overrides if _key(override) not in changed]
        words = ["--config", self.config] if self.config != DEFAULT_CONFIG else []
        words += ["--images", str(self.images)] if self.images else []
        words += [word for override in [*kept, *changes] for word in ("--set", override)]
        words += ["--from", from_step] if from_step else []
        return shlex.join(["catsdogs", "run", *words])

    def on(self, command: str, output_root: Path, *words: str) -> str:
        """Returns another command on the runs in an output root, which is named where the user chose it."""
        chosen = self.config != DEFAULT_CONFIG or "output_root" in map(_key, self.overrides)
        root = ["--set", f"output_root={output_root}"] if chosen else []
        return shlex.join(["catsdogs", command, *words, *root])


def print_outcome(
    console: Console,
    record: RunRecord,
    outcome: Outcome,
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
    rows += [("time", _time(record)), ("logs", path(run_dir / "logs")), *_listed("next", advice)]
    colour = "green" if outcome.exit_status == 0 else "yellow"
    console.print()
    console.print(Text(_headline(outcome, record), f"bold {colour}"), soft_wrap=True)
    for label, text in rows:  # Text, as a path may look like markup; soft_wrap, to copy it in one piece
        console.print(Text.assemble("  ", (f"{label:<6}", "bold"), "  ", text), soft_wrap=True)


def advise(outcome: Outcome, asked: RunOptions, settings: Settings, run_id: str) -> list[str]:
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


def print_failure(console: Console, record: RunRecord, run_dir: Path, asked: RunOptions) -> None:
    """Prints what went wrong, where the details are, and how to go on."""
    going_on = how_to_go_on(record, asked)
    if record.state == "interrupted":
        console.print(Text(f"{record.message} {going_on}".rstrip()), soft_wrap=True)
        return
    console.print(Text(record.message or "", "bold red"), soft_wrap=True)
    if not record.is_expected:
        step = record.last(State.FAILED)
        log = log_path(run_dir, record.position(step) if step else 0, step or "Start")
        console.print(f"The details are in {path(log)}", highlight=False, markup=False, soft_wrap=True)
    if going_on:
        console.print(going_on, highlight=False, soft_wrap=True)


def how_to_go_on(record: RunRecord, asked: RunOptions) -> str:
    """Returns a sentence where a step has finished, so that the next run need not do it again, else ""."""
    if not any(step.state.is_kept for step in record.steps.values()):
        return ""
    command = "the same command without --from" if asked.from_step else "the same command"
    return f"Finished steps are kept: {command} goes on where this one stopped."


def _headline(outcome: Outcome, record: RunRecord) -> str:
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
    last = [name for name, step in record.steps.items() if step.state.is_kept][-1:]
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


def _time(record: RunRecord) -> str:
    states = [step.state for step in record.steps.values() if step.state is not State.SKIPPED]
    taken = sum(state.is_taken for state in states)
    return f"{duration(record.seconds or 0)}, {taken} of {len(states)} steps taken from earlier runs"


def _key(override: str) -> str:
    return override.partition("=")[0]
