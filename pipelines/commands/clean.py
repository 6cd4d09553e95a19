"""`catsdogs clean`. Imports are deferred, so that `--help` is quick."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.console import echo
from pipelines.settings.configs import DEFAULT_CONFIG
from serving.printable import printable


def clean(
    keep: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the newest runs to keep.")] = 5,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list what would be removed.")] = False,
) -> None:
    """Remove old runs and the files only they use, the feature cache, and unfinished trainings.

    Keeps the latest blessed model, the best model, the latest accepted data, and the reports of the runs that
    it keeps. Never removes model versions from the model repository. Removes nothing in a folder that
    catsdogs run has not marked with a file .catsdogs, without a readable metadata.sqlite, or through a
    symbolic link.

    Exit status: 0 success; 1 metadata.sqlite is missing or damaged, or another command uses the folder; 2 it
    is not marked, or confirmation is needed.
    """
    from components.errors import PipelineError
    from pipelines.disk_errors import disk_error
    from pipelines.formatting import format_size
    from pipelines.runs import cleanup, lock, output_root
    from pipelines.runs.metadata import open_store
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    if not output_root.used_folders(settings):
        echo(f"There is nothing to clean in {settings.output_root}.")
        return
    output_root.check_deletable(settings)
    with lock.acquire(settings.output_root, "clean"):
        store = open_store(settings.metadata_path, writable=True)
        if store is None:
            raise PipelineError(
                f"Nothing was removed: {settings.metadata_path} does not exist, and without it nothing says "
                "which runs to keep. Put it back; if it is lost, the next catsdogs run creates a new one."
            )
        plan = cleanup.plan_cleanup(store, settings, keep)
        if not plan.folders and not plan.runs:
            echo("There is nothing to clean.")
            return
        echo(f"Old runs: {len(plan.runs)}; folders: {len(plan.folders)}, {format_size(plan.size)}:")
        for folder in plan.folders:
            echo(f"  {printable(folder)}")
        if dry_run:
            return
        if not yes and not sys.stdin.isatty():
            echo("clean needs confirmation, and stdin is not a terminal: add --yes.", err=True)

            raise typer.Exit(2)
        if yes or typer.confirm("Remove them?"):
            try:
                cleanup.remove_planned(plan, store)
            except OSError as error:
                raise disk_error(error, settings.output_root) from error
            echo(f"Freed {format_size(plan.size)}.")
