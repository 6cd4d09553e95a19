"""What a benchmark has measured, kept in a file from one process to the next."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from benchmarks.watched import Memory, Peak


@dataclass(frozen=True)
class Measured:
    """One process, from its start to its end.

    Attributes:
        what: What ran.
        seed: Of its training.
        asked: What else it was given: equal texts mean that the same was measured.
        load: How many processes wanted a core in the minute before.
        seconds: What counts of its time, imports included.
        parts: Seconds of each part, in their order; they add up to `seconds`.
        peaks: The most memory by part; under the name of `what`, where it was watched as a whole.
        trained: Number of pictures that it was given to train on; where it carves its own `test`, of all.
        pictures: Number of pictures that it was judged on.
        correct: How many of them it told right, at each moment that was measured; the last one counts.
        pushed: Whether it ended with a model in its place.
        cache_mb: What it left on disk for the next training.
    """

    what: str
    seed: int
    asked: str
    load: float
    seconds: float
    parts: dict[str, float]
    peaks: dict[str, Peak]
    trained: int
    pictures: int
    correct: dict[str, int] = field(default_factory=dict)
    pushed: bool = True
    cache_mb: float = 0.0

    @property
    def peak(self) -> Memory:
        """The most memory in any of its parts."""
        memories = [peak.memory for peak in self.peaks.values()]
        return Memory(max(one.own for one in memories), max(one.resident for one in memories))


def load(file: Path) -> list[Measured]:
    """Returns what was measured so far."""
    if not file.exists():
        return []
    return [_measured(fields) for fields in json.loads(file.read_text(encoding="utf-8"))["measured"]]


def save(file: Path, measured: Sequence[Measured], machine: dict[str, str | int]) -> None:
    """Writes what was measured so far, whole or not at all."""
    beside = file.with_name(f"{file.name}.part")
    contents = {"machine": machine, "measured": [asdict(one) for one in measured]}
    beside.write_text(json.dumps(contents, indent=2) + "\n", encoding="utf-8")
    beside.rename(file)


def _measured(fields: dict) -> Measured:
    peaks = {
        part: Peak(Memory(**peak["memory"]), peak["before"]) for part, peak in fields.pop("peaks").items()
    }
    return Measured(**fields, peaks=peaks)
