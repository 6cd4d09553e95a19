"""`history.jsonl`: the changes to a model repository, one JSON object per line, oldest first."""

from __future__ import annotations

import dataclasses
import getpass
import json
import logging
import os
from datetime import UTC, datetime

from pydantic import TypeAdapter

NAME = "history.jsonl"

_log = logging.getLogger(__name__)


def now() -> str:
    """Returns the current time in UTC as ISO 8601, in whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # the user of a container may have no account
        return str(os.getuid())


@dataclasses.dataclass(frozen=True)
class HistoryEntry:
    """One change.

    Attributes:
        action: `push`, `rollback` or `remove`.
        before: The version that was served before; None if there was none.
        after: The version that is served afterwards.
        removed: The deleted versions, for `remove`.
        model: Identity of the model, for `push`.
        reason: The reason, if the user gave one.
        time: Time in UTC as ISO 8601.
        user: Name of the user; the user id if the account has no name.
    """

    action: str
    before: int | None
    after: int | None
    removed: tuple[int, ...] = ()
    model: str | None = None
    reason: str | None = None
    time: str = dataclasses.field(default_factory=now)
    user: str = dataclasses.field(default_factory=_user)

    def to_line(self) -> str:
        """Returns the entry as a line of JSON, including the newline."""
        return json.dumps(dataclasses.asdict(self)) + "\n"


_ENTRY = TypeAdapter(HistoryEntry)


def parse(text: str, address: str) -> list[HistoryEntry]:
    """Returns the entries of a history.

    Skips lines that are not entries, and logs their numbers. An incomplete last line, which a killed process
    left, is skipped silently.
    """
    entries, malformed = [], []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        try:
            entries.append(_ENTRY.validate_json(line))
        except ValueError:
            if line.endswith("\n"):
                malformed.append(number)
    if malformed:
        numbers = ", ".join(map(str, malformed))
        _log.warning("Skipped malformed lines of %s: %s. Repair or delete them.", address, numbers)
    return entries
