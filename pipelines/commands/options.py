"""The options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

Config = Annotated[
    str,
    typer.Option(
        "--config", metavar="NAME|FILE", help="A configuration from configs/, or the path of a YAML file."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Change one setting: training.batch_size=64. Repeatable."
    ),
]
