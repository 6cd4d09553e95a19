"""`catsdogs run`. Imports are deferred, so that `--help` is quick."""

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
            metavar="DIR", help="Your own images: DIR/<class>/* or DIR/{train,validation,test}/<class>/*."
        ),
    ] = None,
    overrides: Overrides = None,
    from_node: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="NODE",
            help="Rerun this node and all nodes that depend on it; reuse the outputs of earlier nodes from "
            "the latest run that has them.",
        ),
    ] = None,
    to_node: Annotated[
        str | None,
        typer.Option(
            "--to",
            metavar="NODE",
            help="Stop after this node. Exits with 0 unless the gate or the serving check refused the model.",
        ),
    ] = None,
) -> None:
    """Run the pipeline on this machine, from images to a pushed model.

    Nodes whose inputs, settings and code have not changed are reused from earlier runs.

    Exit status: 0 blessed and pushed; 2 invalid usage or settings; 3 complete, but not pushed;
    4 data rejected; 130 interrupted; 1 any other error.
    """
    from components.image_example_gen.sources import check_source
    from pipelines.local.run import run_locally
    from pipelines.local.summary import RunOptions
    from pipelines.settings.loading import load

    own_images = ["data.source=folder", f"data.folder={json.dumps(str(images))}"] if images else []
    settings = load(config, [*own_images, *(overrides or [])])
    check_source(settings.data.source_spec, settings.data.class_names)
    options = RunOptions(config, images, tuple(overrides or ()), from_node, to_node)
    raise typer.Exit(run_locally(settings, options))
