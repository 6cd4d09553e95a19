"""What there is to say of each version of a place: where it comes from, what it is now, is it whole."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

from serving.publication.manifest import Manifest
from serving.publication.place import Place
from serving.publication.stock import Stock

SERVED, STABLE, KEPT, WITHDRAWN = "served", "stable", "kept", "withdrawn"


@dataclasses.dataclass(frozen=True)
class Row:
    """One version.

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


def listed(place: Place) -> list[Row]:
    """Returns all versions, the newest first; every file is read to see whether it is as it was pushed."""
    stock = place.stock()
    return [_row(place, stock, number) for number in reversed(stock.known)]


def _row(place: Place, stock: Stock, number: int) -> Row:
    try:
        manifest = place.manifest(number)
    except ValueError:  # which is the damage told below
        manifest = None
    labels = {"canary": stock.served, "stable": stock.stable}
    return Row(
        version=number,
        pushed=_pushed(number, manifest),
        accuracy=manifest.metrics.get("accuracy") if manifest else None,
        run_id=manifest.run_id if manifest else None,
        state=_state(stock, number),
        labels=tuple(label for label, labelled in labels.items() if labelled == number),
        damage=place.damage(number),
        size=place.size(number),
    )


def _state(stock: Stock, number: int) -> str:
    if number in stock.withdrawn:
        return WITHDRAWN
    return {stock.stable: STABLE, stock.served: SERVED}.get(number, KEPT)


def _pushed(number: int, manifest: Manifest | None) -> datetime | None:
    try:
        if manifest and manifest.pushed_at:
            return datetime.fromisoformat(manifest.pushed_at).astimezone()
        return datetime.fromtimestamp(number, UTC).astimezone() if number > 1e9 else None
    except (ValueError, OverflowError, OSError):  # no time that anybody lives in
        return None
