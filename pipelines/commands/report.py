"""`catsdogs report`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.settings.configs import DEFAULT_CONFIG


def report(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]", help="The run. Else the newest one that has a report.", show_default=False
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Open it in the browser, too.")] = False,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Print where the report of a run is: why its model was blessed or refused, figures, pictures, data.

    Exit status: 0 it is there; 1 no browser could be opened; 2 there is no such run, or no report of it.
    """
    import webbrowser

    from components.errors import PipelineError
    from pipelines.runs import reports
    from pipelines.runs.run_folders import find_overriding_run, run_ids
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    found = reports.of_run(settings, run)
    newest = run_ids(settings)[0]
    if run is None and found.parent.name != newest:
        typer.echo(f"The newest run, {newest}, has no report; this one is of {found.parent.name}:", err=True)
    lifted = find_overriding_run(settings.runs_dir, found.parent.name)
    if lifted:
        typer.echo(f"What it says was overridden in run {lifted}.", err=True)
    typer.echo(str(found))
    if open_ and not webbrowser.open(found.as_uri()):
        raise PipelineError(f"No browser could be opened here: open {found} where there is one.")
