"""`catsdogs rollback`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from pipelines.commands.models import opened_repository
from pipelines.commands.options import Config, Overrides
from pipelines.settings.configs import DEFAULT_CONFIG


def rollback(
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="[VERSION]", help="The version to serve. Else the one before.", show_default=False
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, for history.jsonl beside the versions.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Serve an earlier version again, or one that was rolled back; nothing is deleted.

    Servers follow within about a second, and answer all the while.

    Exit status: 0 it is served; 1 it is damaged, or the model repository cannot be used; 2 there is no
    such version.
    """
    from pipelines.settings.loading import load

    with opened_repository(load(config, overrides or [])) as repository:
        before, after = repository.roll_back(version, reason)
    if before == after:
        typer.echo(f"Version {after} in {repository.address} is served already: nothing was changed.")
        return
    was = "none was before" if before is None else f"was {before}"
    typer.echo(f"Version {after} is the newest in {repository.address} now, and {was}.")
    typer.echo("Servers that watch it change within about a second, without losing a request.")
    if before is None:
        return
    options = ["--config", config] if config != DEFAULT_CONFIG else []
    options += [word for override in overrides or [] for word in ("--set", override)]
    back = shlex.join(["catsdogs", "rollback", str(before), *options])
    typer.echo(f"{back}    serves {before} again: nothing was deleted")
