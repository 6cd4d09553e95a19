"""`catsdogs models`. What it needs is imported when it runs, so that `--help` answers at once."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.settings.configs import DEFAULT_CONFIG

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.settings.tree import Settings
    from serving.repository.manifest import Manifest
    from serving.repository.publish import ModelRepository
    from serving.repository.versions import ModelVersions


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
    from pipelines.settings.loading import load

    with opened_repository(load(config, overrides or [])) as repository:
        found = _rows(repository)
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in found], indent=2))
    elif not found:
        typer.echo(f"There are no versions in {repository.address} yet: catsdogs run pushes the first.")
    else:
        from rich.console import Console

        Console(width=None if sys.stdout.isatty() else 1000).print(_table(found))


@contextlib.contextmanager
def opened_repository(settings: Settings) -> Iterator[ModelRepository]:
    """Opens the model repository of the settings; what the file system refuses becomes a sentence."""
    from serving.errors import ServingError
    from serving.repository.publish import open_repository

    repository = open_repository(settings.serving_destination, settings.push_config)
    try:
        yield repository
    except OSError as error:
        raise ServingError(
            f"{repository.address} cannot be used ({error.strerror or error}): check that it is a folder, "
            "and that you may read and write it."
        ) from error


@dataclasses.dataclass(frozen=True)
class _Row:
    """One version, as `catsdogs models --json` prints it.

    Attributes:
        version: Its number.
        pushed: When, in local time; without a manifest, what the number says; None where it is no time.
        accuracy: On `test`; None where nobody wrote it down.
        run_id: The run that pushed it; None where nobody wrote it down.
        state: `served`, `stable`, `kept` or `withdrawn`.
        labels: What TensorFlow Serving calls it: `canary`, `stable`.
        damage: What of it is not as it was pushed; None where everything is.
        size: In bytes.
    """

    version: int
    pushed: datetime | None
    accuracy: float | None
    run_id: str | None
    state: str
    labels: tuple[str, ...]
    damage: str | None
    size: int

    def as_dict(self) -> dict[str, Any]:
        """Returns it for JSON."""
        pushed = self.pushed and self.pushed.isoformat(timespec="seconds")
        return {**dataclasses.asdict(self), "pushed": pushed}


def _rows(repository: ModelRepository) -> list[_Row]:
    """Returns all versions, the newest first; every file is read to see whether it is as it was pushed."""
    versions = repository.versions()
    return [_row(repository, versions, number) for number in reversed(versions.known)]


def _row(repository: ModelRepository, versions: ModelVersions, number: int) -> _Row:
    try:
        manifest = repository.manifest(number)
    except ValueError:  # which is the damage told below
        manifest = None
    labels = {"canary": versions.served, "stable": versions.stable}
    states = {versions.stable: "stable", versions.served: "served"}
    return _Row(
        version=number,
        pushed=_pushed(number, manifest),
        accuracy=manifest.metrics.get("accuracy") if manifest else None,
        run_id=manifest.run_id if manifest else None,
        state="withdrawn" if number in versions.withdrawn else states.get(number, "kept"),
        labels=tuple(label for label, labelled in labels.items() if labelled == number),
        damage=repository.damage(number),
        size=repository.size(number),
    )


def _pushed(number: int, manifest: Manifest | None) -> datetime | None:
    try:
        if manifest and manifest.pushed_at:
            return datetime.fromisoformat(manifest.pushed_at).astimezone()
        return datetime.fromtimestamp(number, UTC).astimezone() if number > 1e9 else None
    except (ValueError, OverflowError, OSError):  # no time that anybody lives in
        return None


def _table(found: list[_Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from pipelines.formatting import size

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
