"""The `catsdogs` command: registers all commands and prints errors in one sentence."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import traceback
from typing import NoReturn

import typer

from components.errors import PipelineError
from pipelines.commands.bless import bless
from pipelines.commands.clean import clean
from pipelines.commands.compare import compare
from pipelines.commands.compile import compile_pipeline
from pipelines.commands.models import models
from pipelines.commands.predict import predict
from pipelines.commands.report import report
from pipelines.commands.rollback import rollback
from pipelines.commands.run import run
from pipelines.commands.runs import runs
from pipelines.commands.serve import serve
from pipelines.commands.submit import submit
from pipelines.console import echo
from pipelines.disk_errors import FULL
from serving.errors import ServingError
from serving.printable import printable_lines

app = typer.Typer(
    help="Train, evaluate and push an image classifier for cats and dogs, or for any two classes.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, runs, report, compare, bless, models, rollback, serve, predict, clean, submit):
    app.command()(command)
app.command(name="compile")(compile_pipeline)


def main() -> None:
    """Runs the command and prints any error as one sentence on stderr."""
    try:
        app()
    except (PipelineError, ServingError) as error:
        _exit(str(error), error.exit_status)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in FULL:
            unwritten = error.filename or "The output of this command"
            _exit(
                f"{unwritten} cannot be written: its disk is full. Free some space, or use another disk.", 1
            )
        details_path = ""
        with contextlib.suppress(OSError):  # the disk may be full
            with tempfile.NamedTemporaryFile("w", prefix="catsdogs-", suffix=".log", delete=False) as details:
                details.write(printable_lines(traceback.format_exc()))
            details_path = f" Details: {details.name}"
        _exit(f"Unexpected error: {type(error).__name__}: {error}.{details_path}", 1)


def _exit(message: str, status: int) -> NoReturn:
    echo(message, err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
