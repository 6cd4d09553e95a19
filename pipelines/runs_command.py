"""`catsdogs runs`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.local.asked import DEFAULT_CONFIG
from pipelines.options import Config, Overrides

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.runs import Run

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

    from pipelines.runs import past
    from pipelines.settings import load

    settings = load(config, overrides or [])
    found = past(settings.output_root, settings.metadata_path)
    if as_json:
        typer.echo(json.dumps([_as_json(run) for run in found], indent=2))
    elif found:
        Console(width=None if sys.stdout.isatty() else 1000).print(_table(found))
        for run in found:
            if run.overridden_in:
                typer.echo(f"{run.run_id} was refused, and overridden in run {run.overridden_in}.")
    else:
        typer.echo(f"No runs in {settings.output_root} yet: catsdogs run makes the first.")


def _table(found: list[Run]) -> Table:
    from rich.table import Table

    from pipelines.local.wording import duration, share

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", no_wrap=True, min_width=len("2026-11-22T05-10-33"))  # to be typed, never cut
    for heading in ("took", "state", "accuracy", "auc", "loss", "verdict", "pushed"):
        table.add_column(heading, no_wrap=True)
    for run in found:
        table.add_row(
            run.run_id,
            "" if run.seconds is None else duration(run.seconds),
            f"[{_COLOURS.get(run.state, 'red')}]{run.state}[/]",
            "" if run.accuracy is None else share(run.accuracy, run.accuracy_interval, decimals=1),
            "" if run.auc is None else f"{run.auc:.4f}",
            "" if run.loss is None else f"{run.loss:.4f}",
            f"[{_COLOURS[run.verdict]}]{run.verdict}[/]" if run.verdict else "",
            run.pushed or "",
        )
    return table


def _as_json(run: Run) -> dict[str, object]:
    from dataclasses import asdict

    return {
        **asdict(run),
        "started": run.started.isoformat(timespec="seconds"),
        "verdict": run.verdict or None,
    }
