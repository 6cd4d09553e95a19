"""`catsdogs clean`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.settings.configs import DEFAULT_CONFIG


def clean(
    keep: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the newest runs stay.")] = 5,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
) -> None:
    """Remove old runs, what only they use, and unfinished trainings; never what was blessed or accepted last.

    The best model stays too, and so do the reports of all runs that stay. Served versions are never removed,
    however many there are.
    """
    from pipelines.disk_errors import disk_error
    from pipelines.formatting import size
    from pipelines.runs import cleanup, lock
    from pipelines.runs.metadata import open_store
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    if not settings.output_root.is_dir():
        typer.echo(f"There is nothing to clean: {settings.output_root} does not exist.")
        return
    with lock.hold(settings.output_root, "clean"):
        store = open_store(settings.metadata_path, writable=True)
        plan = cleanup.plan(store, settings, keep)
        if not plan.folders and not plan.runs:
            typer.echo("There is nothing to clean.")
            return
        typer.echo(f"Old runs: {len(plan.runs)}; folders: {len(plan.folders)}, {size(plan.size)}:")
        for folder in plan.folders:
            typer.echo(f"  {folder}")
        if dry_run:
            return
        if not yes and not sys.stdin.isatty():
            typer.echo("clean asks before it removes anything; where nobody can answer, add --yes.", err=True)
            raise typer.Exit(2)
        if yes or typer.confirm("Remove them?"):
            try:
                cleanup.carry_out(plan, store)
            except OSError as error:
                raise disk_error(error, settings.output_root) from error
            typer.echo(f"Freed {size(plan.size)}.")
