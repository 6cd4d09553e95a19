"""The `catsdogs` command. What a command needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from components.errors import PipelineError
from pipelines.bless_command import bless
from pipelines.compare_command import compare
from pipelines.kubeflow.commands import submit
from pipelines.options import DEFAULT_CONFIG, Config, Overrides
from pipelines.predict_command import predict
from pipelines.report_command import report
from pipelines.runs_command import runs
from pipelines.serve_command import serve
from pipelines.served_commands import models, rollback
from serving.errors import ServingError

if TYPE_CHECKING:
    from pipelines.settings import Settings

app = typer.Typer(
    help="Trains, judges and pushes a classifier of cats and dogs, or of any two classes of pictures.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def main() -> None:
    """Runs the command; every error ends in one sentence on stderr."""
    try:
        app()
    except (PipelineError, ServingError) as error:
        _end(str(error), error.exit_status)
    except Exception as error:
        where = ""
        with contextlib.suppress(OSError):  # no room for it
            with tempfile.NamedTemporaryFile("w", prefix="catsdogs-", suffix=".log", delete=False) as details:
                traceback.print_exc(file=details)
            where = f" The details are in {details.name}"
        _end(f"catsdogs did not expect this: {type(error).__name__}: {error}.{where}", 1)


@app.command()
def run(
    config: Config = DEFAULT_CONFIG,
    images: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Your own pictures: DIR/<class>/* or DIR/{train,validation,test}/<class>/*."
        ),
    ] = None,
    overrides: Overrides = None,
    from_step: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NODE",
            help="Run this step and all that depends on it anew; the steps before it give what they gave in "
            "the latest run that has them.",
        ),
    ] = None,
    to_step: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="NODE", help="Stop after this step. Exits with 0, unless the gate refused."
        ),
    ] = None,
) -> None:
    """Run the pipeline on this machine, from pictures to a pushed model.

    Steps whose inputs, settings and code have not changed are taken from earlier runs.

    Exit status: 0 blessed and pushed; 2 bad usage or settings; 3 ran to the end and was not pushed;
    4 the data were rejected; 130 interrupted; 1 anything else.
    """
    from components.image_example_gen.sources import check_source
    from pipelines.local.report import Asked
    from pipelines.local.run import run as run_locally

    own = ["data.source=folder", f"data.folder={json.dumps(str(images))}"] if images else []
    settings = _settings(config, [*own, *(overrides or [])])
    check_source(settings.data.source_spec, settings.data.class_names)
    asked = Asked(config, images, tuple(overrides or ()), from_step, to_step)
    raise typer.Exit(run_locally(settings, asked))


@app.command(name="compile")
def compile_(
    config: Config = "kubeflow",
    overrides: Overrides = None,
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The file to write: .yaml or .yml.")
    ] = Path("pipeline.yaml"),
) -> None:
    """Compile the pipeline for Kubeflow Pipelines, into a file that catsdogs submit takes.

    Exit status: 0 written; 2 settings that do not fit a run on Kubeflow.
    """
    from pipelines.kubeflow import checks, report

    settings = _settings(config, overrides)
    checks.check_output(output)
    checks.check(settings)
    with report.progress():
        from pipelines.kubeflow import compile as compiling  # imports TFX, which takes its time

        compiling.write(compiling.compile_pipeline(settings), output)
    report.print_summary(settings, output)


app.command()(submit)
app.command()(serve)
app.command()(models)
app.command()(rollback)
app.command()(predict)
app.command()(runs)
app.command()(report)
app.command()(compare)
app.command()(bless)


@app.command()
def clean(
    keep: Annotated[int, typer.Option(min=1, metavar="N", help="How many of the newest runs stay.")] = 5,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would go.")] = False,
) -> None:
    """Remove old runs, what only they use, and unfinished trainings; never what was blessed or accepted last.

    The best model stays too, and so do the reports of all runs that stay. Served versions are never removed,
    however many there are.
    """
    from pipelines import clean as cleaning
    from pipelines.local import lock
    from pipelines.local.failure import disk_error
    from pipelines.local.wording import size
    from pipelines.runs import open_store

    settings = _settings(config, overrides)
    if not settings.output_root.is_dir():
        typer.echo(f"There is nothing to clean: {settings.output_root} does not exist.")
        return
    with lock.hold(settings.output_root, "clean"):
        store = open_store(settings.metadata_path, writable=True)
        plan = cleaning.plan(store, settings, keep)
        if not plan.folders and not plan.runs:
            typer.echo("There is nothing to clean.")
            return
        typer.echo(f"Old runs: {len(plan.runs)}; folders: {len(plan.folders)}, {size(plan.size)}:")
        for folder in plan.folders:
            typer.echo(f"  {folder}")
        if dry_run:
            return
        if not yes and not sys.stdin.isatty():
            _end("clean asks before it removes anything; where nobody can answer, add --yes.", 2)
        if yes or typer.confirm("Remove them?"):
            try:
                cleaning.carry_out(plan, store)
            except OSError as error:
                raise disk_error(error, settings.output_root) from error
            typer.echo(f"Freed {size(plan.size)}.")


def _settings(config: str, overrides: list[str] | None) -> Settings:
    from pipelines.settings import load

    return load(config, overrides or [])


def _end(message: str, status: int) -> NoReturn:
    typer.echo(message, err=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
