"""`catsdogs compare`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines.local.asked import DEFAULT_CONFIG
from pipelines.options import Config, Overrides


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
    from pipelines.settings import load

    settings = load(config, overrides or [])

    from pipelines import comparing  # imports TensorFlow, which takes its time

    sides = [comparing.side(settings, run_id) for run_id in (first, second)]
    page = comparing.write(settings, *sides)

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 1000, highlight=False)
    console.print(comparing.table(*sides))
    for sentence in comparing.sentences(*sides):
        console.print(sentence, markup=False, soft_wrap=True)
    console.print(f"page  {page}", markup=False, soft_wrap=True)
