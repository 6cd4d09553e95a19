"""`catsdogs models` and `catsdogs rollback`. What they need is imported when they run."""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.local.asked import DEFAULT_CONFIG
from pipelines.options import Config, Overrides

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.settings import Settings
    from serving.publication.listing import Row
    from serving.publication.place import Place


def models(
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the pushed versions, the newest first: when, accuracy, run, state, size.

    States: served (the newest, labelled canary), stable (the one served before it), kept, withdrawn (rolled
    back); damaged, where a file is not as it was pushed.

    Exit status: 0, however many there are; 1 they cannot be read; 2 settings that do not fit.
    """
    from pipelines.settings import load
    from serving.publication.listing import listed

    settings = load(config, overrides or [])
    place = _place(settings)
    with _told(place):
        found = listed(place)
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in found], indent=2))
    elif not found:
        typer.echo(f"There are no versions in {place.address} yet: catsdogs run pushes the first.")
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 1000).print(_table(found))


def rollback(
    version: Annotated[
        int | None,
        typer.Argument(
            metavar="[VERSION]", help="The version to serve. Else the one before.", show_default=False
        ),
    ] = None,
    reason: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Why, for history.jsonl beside the versions.")
    ] = None,
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
) -> None:
    """Serve an earlier version again, or one that was rolled back; nothing is deleted.

    Servers follow within about a second, and answer all the while.

    Exit status: 0 it is served; 1 it is damaged, or the place cannot be used; 2 there is no such version.
    """
    from pipelines.settings import load

    settings = load(config, overrides or [])
    place = _place(settings)
    with _told(place):
        before, after = place.roll_back(version, reason)
    if before == after:
        typer.echo(f"Version {after} in {place.address} is served already: nothing was changed.")
        return
    was = "none was before" if before is None else f"was {before}"
    typer.echo(f"Version {after} is the newest in {place.address} now, and {was}.")
    typer.echo("Servers that watch it change within about a second, without losing a request.")
    if before is None:
        return
    options = ["--config", config] if config != DEFAULT_CONFIG else []
    options += [word for override in overrides or [] for word in ("--set", override)]
    back = shlex.join(["catsdogs", "rollback", str(before), *options])
    typer.echo(f"{back}    serves {before} again: nothing was deleted")


def _place(settings: Settings) -> Place:
    from serving.publication.place import Terms, open_place

    terms = Terms(settings.pipeline_name, settings.serving_base_path, settings.serving.keep_versions)
    return open_place(settings.serving_destination, terms)


@contextlib.contextmanager
def _told(place: Place) -> Iterator[None]:
    """Turns what a folder refuses into a sentence."""
    from serving.errors import ServingError

    try:
        yield
    except OSError as error:
        raise ServingError(
            f"{place.address} cannot be used ({error.strerror or error}): check that it is a folder, and "
            "that you may read and write it."
        ) from error


def _table(found: list[Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from pipelines.local.wording import size

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("version", no_wrap=True, min_width=max(len(str(row.version)) for row in found))
    for heading in ("pushed", "accuracy", "run"):
        table.add_column(heading, no_wrap=True)
    table.add_column("state", overflow="fold", min_width=len("withdrawn"))  # it may name a long file
    table.add_column("size", no_wrap=True)
    colours = {"served": "green", "stable": "cyan", "withdrawn": "yellow"}
    for row in found:
        state = Text(row.state, colours.get(row.state, "default"))
        if row.damage:
            state = Text.assemble(state, ", ", (f"damaged: {row.damage}", "red"))
        table.add_row(
            str(row.version),
            row.pushed.strftime("%Y-%m-%d %H:%M") if row.pushed else "",
            "" if row.accuracy is None else f"{row.accuracy:.2%}",
            Text(row.run_id or ""),
            state,
            size(row.size),
        )
    return table
