"""`history.jsonl`: what was done to the served versions, one line an action, the oldest first."""

from __future__ import annotations

import contextlib
import dataclasses
import getpass
import json
import os
from datetime import UTC, datetime

from pydantic import TypeAdapter

NAME = "history.jsonl"


def now() -> str:
    """Returns the time in UTC and ISO 8601, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without an account
        return str(os.getuid())


@dataclasses.dataclass(frozen=True)
class Entry:
    """One action.

    Attributes:
        action: `push`, `rollback` or `remove`.
        before: The version that was served before it; None where none was.
        after: The one that was served after it.
        removed: The versions that are gone since, for `remove`.
        model: The identity of the model, for `push`.
        reason: Why, where somebody said so.
        time: When, in UTC and ISO 8601.
        user: Who; the number where the account has no name.
    """

    action: str
    before: int | None
    after: int | None
    removed: tuple[int, ...] = ()
    model: str | None = None
    reason: str | None = None
    time: str = dataclasses.field(default_factory=now)
    user: str = dataclasses.field(default_factory=_user)

    def line(self) -> str:
        """Returns the line that is kept, with its end."""
        return json.dumps(dataclasses.asdict(self)) + "\n"


_ENTRY = TypeAdapter(Entry)


def parse(text: str) -> list[Entry]:
    """Returns the actions of a history; a line that a kill has cut short is left out."""
    entries = []
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            entries.append(_ENTRY.validate_json(line))
    return entries
