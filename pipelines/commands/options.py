"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Config = Annotated[
    str,
    typer.Option(
        "--config", metavar="NAME|FILE", help="Name of a config in configs/, or path of a YAML file."
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Override a setting, e.g. training.batch_size=64. Repeatable."
    ),
]
