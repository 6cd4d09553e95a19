"""`catsdogs rollback`. Heavy imports are inside the function, so that `--help` is fast."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.console import echo
from pipelines.settings.configs import DEFAULT_CONFIG


def rollback(
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="[VERSION]",
            help="The version to serve. Default: the one before the served version.",
            show_default=False,
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="The reason, recorded in history.jsonl.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Serve an earlier version, or restore one that was rolled back; nothing is deleted.

    Servers switch within about a second, without failing any requests.

    Exit status: 0 the version is served; 1 it is damaged, or the model repository cannot be used; 2 there is
    no such version.
    """
    from pipelines.settings.loading import load
    from serving.repository.model_repository import opened_repository

    settings = load(config, overrides or [])
    with opened_repository(settings.serving_destination, settings.push_config) as repository:
        before, after = repository.roll_back(version, reason)
    if before == after:
        echo(f"Version {after} in {repository.address} is already served: nothing was changed.")
        return
    previous = "no version" if before is None else f"version {before}"
    echo(f"Version {after} is now served from {repository.address}; before, it was {previous}.")
    echo("Running servers switch within about a second, without failing any requests.")
    if before is None:
        return
    options = ["--config", config] if config != DEFAULT_CONFIG else []
    options += [word for override in overrides or [] for word in ("--set", override)]
    undo = shlex.join(["catsdogs", "rollback", str(before), *options])
    echo(f"To undo this: {undo}")
