"""The `catsdogs compare` command. Heavy imports are deferred so that `--help` is fast."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.console import PrintableConsole, print_line, silence_stderr
from pipelines.settings.configs import DEFAULT_CONFIG


def compare(
    first: Annotated[str, typer.Argument(metavar="RUN", help="ID of the reference run.", show_default=False)],
    second: Annotated[
        str, typer.Argument(metavar="RUN", help="ID of the run to compare with it.", show_default=False)
    ],
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Compare two runs: verdicts, metrics, a paired test on common images, and differing settings.

    Metrics are shown with 95 % confidence intervals. The command also writes an HTML page with the curves of
    both runs into the folder of the second run.

    Exit status: 0 success; 2 a run does not exist or has no report.
    """
    from pipelines.runs.reports import find_report
    from pipelines.settings.loading import load

    settings = load(config, overrides or [])
    for run in (first, second):
        find_report(settings, run)  # fails before the slow imports
    console = PrintableConsole(width=None if sys.stdout.isatty() else 1000, highlight=False)
    with console.status("Reading the runs …"), silence_stderr():
        from pipelines.runs import comparison

        first_run, second_run = (comparison.read_run(settings, run) for run in (first, second))
        page = comparison.write_page(settings, first_run, second_run)
    console.print(comparison.table(first_run, second_run))
    for paragraph in comparison.summary(first_run, second_run):
        print_line(console, paragraph)
    print_line(console, f"page  {page}")
