"""`catsdogs bless`. What it needs is imported when it runs, so that `--help` answers at once."""

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
        str, typer.Option(metavar="TEXT", help="Why, for the verdict and the report.", show_default=False)
    ],
    by: Annotated[str | None, typer.Option(metavar="NAME", help="Who decides. Else your login name.")] = None,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Bless and push a model that the gate has refused, for a reason that is kept with the run.

    The end of that run is run again on its model: nothing is trained, and the gate sets aside the rules that
    failed in that run, no others. What the check on a server found cannot be set aside, nor that there was
    nothing to judge by; and a model that is blessed so never becomes the best one, which later models are
    compared with. To undo it: catsdogs rollback.

    Exit status: as of catsdogs run; 2 there is nothing to set aside.
    """
    from pipelines.local.override import decide
    from pipelines.local.run import run as run_locally
    from pipelines.local.summary import RunOptions
    from pipelines.local.worker import SETTINGS
    from pipelines.settings.loading import load
    from pipelines.user import login_name

    decision = decide(load(config, overrides or []), run, reason, by or login_name("--by NAME."))
    stored = decision.settings.runs_dir / run / SETTINGS
    raise typer.Exit(run_locally(decision.settings, RunOptions(str(stored)), decision=decision))
