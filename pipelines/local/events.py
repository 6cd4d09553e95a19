"""What the child tells the parent: one JSON line an event, over a pipe."""

from __future__ import annotations

import dataclasses
import json
import os
import threading
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pipelines.local.summary import Outcome


class State(StrEnum):
    """Where a step stands."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CACHED = "cached"  # the same inputs, settings and code as in an earlier run, whose outputs are taken
    REUSED = "reused"  # before --from: the outputs of an earlier run are taken unseen
    SKIPPED = "skipped"  # not needed for what --from and --to ask for
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_kept(self) -> bool:
        """Whether the step's outputs are there for the next run."""
        return self in {State.DONE, State.CACHED, State.REUSED}


@dataclasses.dataclass(frozen=True)
class Planned:
    """The steps in the order in which they run, each WAITING, REUSED or SKIPPED."""

    steps: Mapping[str, State]


@dataclasses.dataclass(frozen=True)
class Started:
    """A step begins."""

    step: str


@dataclasses.dataclass(frozen=True)
class Progress:
    """The running step says how far it is."""

    text: str


@dataclasses.dataclass(frozen=True)
class Ended:
    """A step is over."""

    step: str
    state: State
    seconds: float


@dataclasses.dataclass(frozen=True)
class Finished:
    """The run came to its end."""

    outcome: Outcome


@dataclasses.dataclass(frozen=True)
class Failed:
    """The run cannot go on.

    Attributes:
        message: One sentence for the user.
        exit_status: What `catsdogs run` ends with.
        expected: Whether the message says it all; otherwise the log has the details.
    """

    message: str
    exit_status: int
    expected: bool


Event = Planned | Started | Progress | Ended | Finished | Failed

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (Planned, Started, Progress, Ended, Finished, Failed)
}


def encode(event: Event) -> bytes:
    """Returns the event as one line."""
    return json.dumps({"event": type(event).__name__, **dataclasses.asdict(event)}).encode() + b"\n"


def decode(line: bytes) -> Event:
    """Reads what `encode` wrote."""
    fields = json.loads(line)
    kind = fields.pop("event")
    if kind == "Planned":
        fields["steps"] = {step: State(state) for step, state in fields["steps"].items()}
    elif kind == "Ended":
        fields["state"] = State(fields["state"])
    elif kind == "Finished":
        fields["outcome"] = Outcome.from_dict(fields["outcome"])
    event: Event = _KINDS[kind](**fields)
    return event


class EventWriter:
    """The child's end of the pipe; threads may share it."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = threading.Lock()

    def send(self, event: Event) -> None:
        """Writes one event."""
        line = encode(event)
        with self._lock:
            while line:
                line = line[os.write(self._fd, line) :]
