"""`catsdogs models`. Heavy imports are inside the functions, so that `--help` is fast."""

from __future__ import annotations

import dataclasses
import json
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.options import Config, Overrides
from pipelines.console import PrintableConsole, echo
from pipelines.settings.configs import DEFAULT_CONFIG

if TYPE_CHECKING:
    from rich.table import Table

    from serving.repository.manifest import Manifest
    from serving.repository.model_repository import ModelRepository
    from serving.repository.versions import ModelVersions


_ROLLED_BACK = "rolled back"  # in the table; JSON keeps the name `withdrawn`


def models(
    config: Config = DEFAULT_CONFIG,
    overrides: Overrides = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the pushed versions, newest first: push time, accuracy, run, state, size.

    States: served (the newest version, label canary), stable (the version before it), kept, rolled back
    ("withdrawn" in JSON), and damaged if a file has changed since the push.

    Exit status: 0 success; 1 the model repository cannot be read; 2 invalid settings.
    """
    from pipelines.settings.loading import load
    from serving.repository.model_repository import opened_repository

    settings = load(config, overrides or [])
    with opened_repository(settings.serving_destination, settings.push_config) as repository:
        rows = _rows(repository)
    if as_json:
        typer.echo(json.dumps([row.as_dict() for row in rows], indent=2))
    elif not rows:
        echo(f"There are no versions in {repository.address} yet: catsdogs run pushes the first.")
    else:
        PrintableConsole(width=None if sys.stdout.isatty() else 1000).print(_table(rows))


@dataclasses.dataclass(frozen=True)
class _Row:
    """One version, as `catsdogs models --json` prints it.

    Attributes:
        version: Version number.
        pushed: Local time of the push, from the version number if there is no manifest; None if unknown.
        accuracy: Accuracy on `test`; None if unknown.
        run_id: The run that pushed it; None if unknown.
        state: `served`, `stable`, `kept` or `withdrawn` (rolled back).
        labels: Its TensorFlow Serving labels: `canary`, `stable`.
        damage: Description of the first damaged file; None if all are intact.
        size: Size in bytes.
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
    """Returns all versions, newest first; reads every file to compare its checksum."""
    versions = repository.versions()
    return [_row(repository, versions, number) for number in reversed(versions.known)]


def _row(repository: ModelRepository, versions: ModelVersions, number: int) -> _Row:
    try:
        manifest = repository.manifest(number)
    except ValueError:  # reported as damage below
        manifest = None
    labels = {"canary": versions.served, "stable": versions.stable}
    states = {versions.stable: "stable", versions.served: "served"}
    return _Row(
        version=number,
        pushed=_pushed(number, manifest),
        accuracy=manifest.metrics.get("accuracy") if manifest else None,
        run_id=manifest.run_id if manifest else None,
        state="withdrawn" if number in versions.rolled_back else states.get(number, "kept"),
        labels=tuple(label for label, labelled in labels.items() if labelled == number),
        damage=repository.damage(number),
        size=repository.size(number),
    )


def _pushed(number: int, manifest: Manifest | None) -> datetime | None:
    try:
        if manifest and manifest.pushed_at:
            return datetime.fromisoformat(manifest.pushed_at).astimezone()
        return datetime.fromtimestamp(number, UTC).astimezone() if number > 1e9 else None
    except (ValueError, OverflowError, OSError):  # not a plausible time
        return None


def _table(rows: list[_Row]) -> Table:
    from rich.table import Table
    from rich.text import Text

    from pipelines.formatting import format_size
    from serving.printable import printable

    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("version", no_wrap=True, min_width=max(len(str(row.version)) for row in rows))
    for heading in ("pushed", "accuracy", "run"):
        table.add_column(heading, no_wrap=True)
    table.add_column("state", overflow="fold", min_width=len(_ROLLED_BACK))  # damage may name a long file
    table.add_column("size", no_wrap=True)
    colours = {"served": "green", "stable": "cyan", _ROLLED_BACK: "yellow"}
    for row in rows:
        name = _ROLLED_BACK if row.state == "withdrawn" else row.state
        state = Text(name, colours.get(name, "default"))
        if row.damage:
            state = Text.assemble(state, ", ", (printable(f"damaged: {row.damage}"), "red"))
        table.add_row(
            str(row.version),
            row.pushed.strftime("%Y-%m-%d %H:%M") if row.pushed else "",
            "" if row.accuracy is None else f"{row.accuracy:.2%}",
            Text(printable(row.run_id or "")),
            state,
            format_size(row.size),
        )
    return table
