"""Runs a process and watches how much memory it and its children take, part by part."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

INTERVAL = 0.1  # seconds between two samples
_BETWEEN_LOOKS = 10  # samples between two looks for new children

_OWN = ("RssAnon", "RssShmem")


class RunFailed(RuntimeError):
    """A process did not come to its end; the message says what it said."""


@dataclass(frozen=True)
class Memory:
    """Memory of a process and its children, in megabytes.

    Attributes:
        own: What cannot be dropped: anonymous and shared memory (RssAnon and RssShmem), not pages of files.
        resident: All that is resident, pages of files included; what processes share counts for each.
    """

    own: float
    resident: float


@dataclass(frozen=True)
class Peak:
    """The most memory that was seen in a part.

    Attributes:
        memory: The largest values; they need not have been seen together.
        before: What was `own` when the part began: left there by the parts before it.
    """

    memory: Memory
    before: float


@dataclass(frozen=True)
class Watched:
    """A process that has ended.

    Attributes:
        status: Its exit status; negative where a signal ended it.
        seconds: From its start to its end.
        peaks: By part, in their order.
    """

    status: int
    seconds: float
    peaks: dict[str, Peak]


def watch(
    command: Sequence[str], log: Path, part: Callable[[], str], environment: Mapping[str, str] | None = None
) -> Watched:
    """Runs a command to its end; it is stopped when this process is.

    Args:
        command: What to run.
        log: Takes its output.
        part: Says what it is at.
        environment: Its environment; None means this process's.
    """
    peaks: dict[str, Peak] = {}
    samples = 0
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while True:
                if samples % _BETWEEN_LOOKS == 0:
                    family = tree(process.pid)
                samples += 1
                peaks = _with(peaks, part(), memory_of(family))
                try:
                    status = process.wait(INTERVAL)
                    return Watched(status, time.perf_counter() - started, peaks)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def stop_when_asked() -> None:
    """Lets SIGTERM end this process as Ctrl-C does, so that what it has started ends with it."""

    def stop(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def tree(pid: int) -> list[int]:
    """Returns a process and all below it that live."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            continue
        parent = int(stat.rpartition(")")[2].split()[1])  # a name may hold anything but the last bracket
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for one in found:
        found += children.get(one, [])
    return found


def memory_of(processes: Sequence[int]) -> Memory:
    """Returns the memory of all of these processes together."""
    own = resident = 0
    for pid in processes:
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            continue
        sizes = {
            name: int(value.split()[0])
            for name, _, value in (line.partition(":") for line in status.splitlines())
            if name in (*_OWN, "VmRSS")
        }
        own += sum(sizes.get(name, 0) for name in _OWN)
        resident += sizes.get("VmRSS", 0)
    return Memory(own * 1024 / 1e6, resident * 1024 / 1e6)


def _with(peaks: dict[str, Peak], part: str, seen: Memory) -> dict[str, Peak]:
    known = peaks.get(part, Peak(seen, seen.own))
    most = Memory(max(known.memory.own, seen.own), max(known.memory.resident, seen.resident))
    return {**peaks, part: Peak(most, known.before)}
