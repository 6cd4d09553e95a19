"""`catsdogs run`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.settings.configs import DEFAULT_CONFIG


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
    from pipelines.local.run import run as run_locally
    from pipelines.local.summary import RunOptions
    from pipelines.settings.loading import load

    own = ["data.source=folder", f"data.folder={json.dumps(str(images))}"] if images else []
    settings = load(config, [*own, *(overrides or [])])
    check_source(settings.data.source_spec, settings.data.class_names)
    asked = RunOptions(config, images, tuple(overrides or ()), from_step, to_step)
    raise typer.Exit(run_locally(settings, asked))
