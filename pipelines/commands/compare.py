"""`catsdogs compare`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.console import silence_stderr
from pipelines.settings.configs import DEFAULT_CONFIG


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="A run.", show_default=False)],
    second: Annotated[str, typer.Argument(metavar="RUN", help="Another one.", show_default=False)],
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Show two runs side by side: verdicts, figures, what only one of them gets right, settings that differ.

    Figures are followed by their 95 % intervals. A page with the curves of both is written into the folder of
    the second run.

    Exit status: 0 it is shown; 2 there is no such run, or no report of it.
    """
    from rich.console import Console

    from pipelines.runs.reports import of_run
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    for run in (first, second):
        of_run(settings, run)  # before anything heavy is imported
    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    with console.status("Reading the runs …"), silence_stderr():
        from pipelines.runs import comparison

        one, other = (comparison.side(settings, run) for run in (first, second))
        page = comparison.write(settings, one, other)
    console.print(comparison.table(one, other))
    for sentence in comparison.sentences(one, other):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(f"page  {page}", markup=False, soft_wrap=True)
