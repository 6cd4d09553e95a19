"""`catsdogs runs`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.options import Config, Overrides
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
    """List past runs, the newest first: when, how they ended, figures on test, verdict, pushed version.

    Accuracy is followed by its 95 % interval. Verdicts: blessed, refused, overridden (refused by the rules
    and blessed by a person).
    """
    from rich.console import Console

    from pipelines.runs.run_folders import overridden_in, past
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    found = past(settings)
    overridden = {run.run_id: overridden_in(settings.runs_dir, run.run_id) for run in found}
    if as_json:
        typer.echo(json.dumps([_as_json(run, overridden[run.run_id]) for run in found], indent=2))
    elif found:
        Console(width=None if sys.stdout.isatty() else 1000).print(_table(found))
        for run_id, later in overridden.items():
            if later:
                typer.echo(f"{run_id} was refused, and overridden in run {later}.")
    else:
        typer.echo(f"No runs in {settings.output_root} yet: catsdogs run makes the first.")


def _table(found: list[RunRecord]) -> Table:
    from rich.table import Table

    from pipelines.formatting import duration, share
    from pipelines.runs.run_record import Outcome

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", no_wrap=True, min_width=len("2026-11-22T05-10-33"))  # to be typed, never cut
    for heading in ("took", "state", "accuracy", "auc", "loss", "verdict", "pushed"):
        table.add_column(heading, no_wrap=True)
    for run in found:
        outcome = run.outcome or Outcome()
        accuracy, auc, loss = (outcome.metrics.get(name) for name in ("accuracy", "auc", "loss"))
        table.add_row(
            run.run_id,
            "" if run.seconds is None else duration(run.seconds),
            f"[{_COLOURS.get(run.state, 'red')}]{run.state}[/]",
            "" if accuracy is None else share(accuracy, outcome.intervals.get("accuracy"), decimals=1),
            "" if auc is None else f"{auc:.4f}",
            "" if loss is None else f"{loss:.4f}",
            f"[{_COLOURS[outcome.verdict]}]{outcome.verdict}[/]" if outcome.verdict else "",
            outcome.push.version if outcome.push else "",
        )
    return table


def _as_json(run: RunRecord, overridden_in: str | None) -> dict[str, object]:
    from pipelines.runs.run_record import Outcome

    outcome = run.outcome or Outcome()
    kept = [step for step in run.steps.values() if step.state.is_kept]
    return {
        "run_id": run.run_id,
        "started": run.started.isoformat(timespec="seconds"),
        "seconds": run.seconds,
        "state": run.state,
        "steps": len(kept),
        "cached": sum(step.state.is_taken for step in kept),
        "accuracy": outcome.metrics.get("accuracy"),
        "accuracy_interval": outcome.intervals.get("accuracy"),
        "auc": outcome.metrics.get("auc"),
        "loss": outcome.metrics.get("loss"),
        "blessed": outcome.blessed,
        "overridden": outcome.overridden,
        "overridden_in": overridden_in,
        "pushed": outcome.push.version if outcome.push else None,
        "verdict": outcome.verdict or None,
    }
