"""`catsdogs runs`. Imports are deferred, so that `--help` is quick."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.console import PrintableConsole, echo
from pipelines.settings.configs import DEFAULT_CONFIG

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.runs.run_record import RunRecord

_COLOURS = {
    "done": "green",
    "running": "bold yellow",
    "blessed": "green",
    "overridden": "magenta",
    "refused": "yellow",
}


def runs(
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List all runs, newest first: duration, state, test metrics, verdict and pushed version.

    A run is named after its start in UTC; names without Z, which earlier versions gave, are in local time.
    The 95 % confidence interval follows the accuracy. Verdicts: blessed, refused, overridden (refused by the
    gate, then blessed by a person).
    """
    from pipelines.runs.run_folders import find_overriding_run, load_run_records
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    records = load_run_records(settings)
    overriding_runs = {run.run_id: find_overriding_run(settings.runs_dir, run.run_id) for run in records}
    if as_json:
        typer.echo(json.dumps([_as_json(run, overriding_runs[run.run_id]) for run in records], indent=2))
    elif records:
        PrintableConsole(width=None if sys.stdout.isatty() else 1000).print(_table(records))
        for run_id, overriding_run in overriding_runs.items():
            if overriding_run:
                echo(f"{run_id} was refused; run {overriding_run} overrode the refusal.")
    else:
        echo(f"No runs in {settings.output_root} yet: start one with catsdogs run.")


def _table(records: list[RunRecord]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from pipelines.formatting import format_duration, format_share
    from pipelines.runs.run_record import RunOutcome
    from serving.printable import printable

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(
        "run", no_wrap=True, min_width=len("2026-11-22T05-10-33Z")
    )  # users copy it: never truncate
    for heading in ("took", "state", "accuracy", "auc", "loss", "verdict", "pushed"):
        table.add_column(heading, no_wrap=True)
    for run in records:
        outcome = run.outcome or RunOutcome()
        accuracy, auc, loss = (outcome.metrics.get(name) for name in ("accuracy", "auc", "loss"))
        table.add_row(
            printable(run.run_id),
            "" if run.seconds is None else format_duration(run.seconds),
            Text(run.state, _COLOURS.get(run.state, "red")),
            "" if accuracy is None else format_share(accuracy, outcome.intervals.get("accuracy"), decimals=1),
            "" if auc is None else f"{auc:.4f}",
            "" if loss is None else f"{loss:.4f}",
            Text(outcome.verdict, _COLOURS[outcome.verdict]) if outcome.verdict else "",
            printable(outcome.push.version) if outcome.push else "",
        )
    return table


def _as_json(run: RunRecord, overriding_run: str | None) -> dict[str, object]:
    from pipelines.runs.run_record import RunOutcome

    outcome = run.outcome or RunOutcome()
    finished = [step for step in run.steps.values() if step.state.has_outputs]
    return {
        "run_id": run.run_id,
        "started": run.started.isoformat(timespec="seconds"),
        "seconds": run.seconds,
        "state": run.state,
        "steps": len(finished),
        "cached": sum(step.state.is_from_earlier_run for step in finished),
        "accuracy": outcome.metrics.get("accuracy"),
        "accuracy_interval": outcome.intervals.get("accuracy"),
        "auc": outcome.metrics.get("auc"),
        "loss": outcome.metrics.get("loss"),
        "blessed": outcome.blessed,
        "overridden": outcome.overridden,
        "overridden_in": overriding_run,
        "pushed": outcome.push.version if outcome.push else None,
        "verdict": outcome.verdict or None,
    }
