"""`catsdogs bless`. Imports are deferred, so that `--help` is quick."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.settings.configs import DEFAULT_CONFIG


def bless(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run whose model was refused.", show_default=False)
    ],
    reason: Annotated[
        str,
        typer.Option(metavar="TEXT", help="The reason, for the verdict and the report.", show_default=False),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Name of the person who made the decision. Default: your login name."
        ),
    ] = None,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Override the quality gate: bless and push a model that it refused. The reason is recorded with the run.

    A new run evaluates the same model again without training, and ignores the rules that failed in the
    refused run, no others. You cannot override a failed serving check, or a verdict without test images. A
    model blessed this way never becomes the best model, with which later models are compared. To undo the
    push: catsdogs rollback.

    Exit status: as for catsdogs run; 2 if there is nothing to override.
    """
    from pipelines.local.override import create_override_request
    from pipelines.local.run import run_locally
    from pipelines.local.summary import RunOptions
    from pipelines.local.worker import SETTINGS_FILE
    from pipelines.settings.loading import load
    from pipelines.user import login_name

    decided_by = by or login_name("--by NAME.")
    request = create_override_request(load(config, overrides or []), run, reason, decided_by)
    stored_settings = request.settings.runs_dir / run / SETTINGS_FILE
    raise typer.Exit(
        run_locally(request.settings, RunOptions(str(stored_settings)), override_request=request)
    )
