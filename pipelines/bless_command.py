"""`catsdogs bless`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from pipelines.local.asked import DEFAULT_CONFIG, Asked
from pipelines.options import Config, Overrides


def bless(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="The run whose model was refused.", show_default=False)
    ],
    reason: Annotated[
        str, typer.Option(metavar="TEXT", help="Why, for the verdict and the report.", show_default=False)
    ],
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who decides. Else your login name.")] = None,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Bless and push a model that the gate has refused, for a reason that is kept with the run.

    The settings of that run are run again: all is taken from before, up to the gate, which sets aside the
    rules that failed. What the check on a server found cannot be set aside, nor that there was nothing to
    judge by; and a model that is blessed so never becomes the best one, which later models are compared with.
    To undo it: catsdogs rollback.

    Exit status: as of catsdogs run; 2 there is nothing to set aside.
    """
    from pipelines.bless_run import decide
    from pipelines.local.run import run as run_locally
    from pipelines.local.worker import SETTINGS
    from pipelines.settings import load

    settings = load(config, overrides or [])
    decision = decide(settings, run, reason, by or getpass.getuser())
    stored = settings.runs_dir / run / SETTINGS
    raise typer.Exit(run_locally(load(str(stored)), Asked(str(stored)), override=decision))
