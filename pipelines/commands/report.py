"""The `catsdogs report` command. Heavy imports are deferred so that `--help` is fast."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.console import echo
from pipelines.settings.configs import DEFAULT_CONFIG


def report(
    run: Annotated[
        str | None,
        typer.Argument(
            metavar="[RUN]",
            help="ID of the run. Defaults to the newest run that has a report.",
            show_default=False,
        ),
    ] = None,
    open_: Annotated[bool, typer.Option("--open", help="Also open the report in the browser.")] = False,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Print the path of the evaluation report of a run.

    The report shows the verdict, metrics, curves, example images and data of the run.

    Exit status: 0 success; 1 no browser could be opened; 2 the run does not exist or has no report.
    """
    import webbrowser

    from components.errors import PipelineError
    from pipelines.runs import reports
    from pipelines.runs.run_folders import find_overriding_run, run_ids
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    path = reports.find_report(settings, run)
    newest = run_ids(settings)[0]
    if run is None and path.parent.name != newest:
        echo(f"The newest run, {newest}, has no report. Showing the report of {path.parent.name}:", err=True)
    override_run = find_overriding_run(settings.runs_dir, path.parent.name)
    if override_run:
        echo(f"The verdict in this report was overridden in run {override_run}.", err=True)
    typer.echo(str(path))  # unchanged for scripts: below the output root, which the user chose
    if open_ and not webbrowser.open(path.as_uri()):
        raise PipelineError(f"No browser could be opened: open {path} manually.")
