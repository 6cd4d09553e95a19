"""What a benchmark has measured, kept in a file from one process to the next."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.watched import Memory, Peak, RunFailed


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


class Kept:
    """Measurements in a file, to which each is added as soon as it is made.

    Args:
        file: Where they are, and may have been from earlier on.
        here: The machine.
        anew: Whether to forget the earlier ones.
    """

    def __init__(self, file: Path, here: Mapping[str, str | int], anew: bool) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._here = dict(here)
        known = not anew and file.exists()
        self.measured = list(map(_measured, json.loads(file.read_text())["measured"])) if known else []

    def once(
        self,
        what: str,
        seed: int,
        asked: str,
        measure: Callable[[], Measured],
        asked_now: Callable[[], str],
    ) -> Measured:
        """Returns a measurement, which is made unless it is there.

        Ends the program where it cannot be made, or where what it depends on did not stay as it was: a
        process imports the code that it finds when it gets there.

        Args:
            what: As in Measured.
            seed: As in Measured.
            asked: As in Measured.
            measure: Makes it.
            asked_now: Returns what `asked` has become.
        """
        title = f"{what}, seed {seed}"
        for one in self.measured:
            if (one.what, one.seed, one.asked) == (what, seed, asked):
                print(f"{title}: measured before (--anew measures again)", flush=True)
                return one
        print(f"{title} …", flush=True)
        try:
            one = measure()
        except RunFailed as error:
            sys.exit(str(error))
        if asked_now() != asked:
            sys.exit(
                f"{title}: not kept, as code, pictures or pinned packages changed while it ran; run the "
                "command again, and change nothing meanwhile."
            )
        self.measured.append(one)
        self._write()
        print(f"{title}: {one.seconds:.0f} s", flush=True)
        return one

    def _write(self) -> None:
        beside = self._file.with_name(f"{self._file.name}.part")
        contents = {"machine": self._here, "measured": [asdict(one) for one in self.measured]}
        beside.write_text(json.dumps(contents, indent=2) + "\n")
        beside.rename(self._file)


def _measured(fields: dict[str, Any]) -> Measured:
    peaks = {
        part: Peak(Memory(**peak["memory"]), peak["before"]) for part, peak in fields.pop("peaks").items()
    }
    return Measured(**fields, peaks=peaks)
