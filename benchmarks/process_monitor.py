"""Runs a process and samples the memory and the processor time of the process and its children."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

INTERVAL = 0.1  # seconds between two samples
_SAMPLES_PER_SCAN = 10  # samples between two scans for new child processes

_PRIVATE = ("RssAnon", "RssShmem")


class ProcessFailed(RuntimeError):
    """A measured process failed; the message contains its last lines of output."""


@dataclass(frozen=True)
class Memory:
    """Memory of a process and its children, in megabytes.

    Attributes:
        own: Memory that the kernel cannot drop (RssAnon and RssShmem), without file pages.
        resident: All resident memory, including file pages. Pages shared by processes count once for each.
    """

    own: float
    resident: float


@dataclass(frozen=True)
class Peak:
    """The peak memory during one part of a process.

    Attributes:
        memory: The largest value of each field; the two may be from different samples.
        before: The value of `own` when the part began, which earlier parts have left allocated.
    """

    memory: Memory
    before: float


@dataclass(frozen=True)
class ProcessResult:
    """A process that has ended.

    Attributes:
        status: Exit status; negative if a signal ended the process.
        seconds: Time from start to end.
        peaks: Peak memory by part, in the order of the parts.
        cpu_seconds: User and system time of all threads, by part.
    """

    status: int
    seconds: float
    peaks: dict[str, Peak]
    cpu_seconds: dict[str, float]


def run_monitored(
    command: Sequence[str],
    log: Path,
    current_part: Callable[[], str],
    environment: Mapping[str, str] | None = None,
    other_pids: Sequence[int] = (),
) -> ProcessResult:
    """Runs a command to its end; terminates it if this process is interrupted.

    Args:
        command: The command and its arguments.
        log: File for the command's output.
        current_part: Returns the name of the part that the process is in.
        environment: Environment of the command. None means the environment of this process.
        other_pids: Running processes that work for the command, and are measured with their children, too.
    """
    peaks: dict[str, Peak] = {}
    cpu_seconds: dict[str, float] = {}
    cpu_before = measure_cpu_seconds(process_tree(*other_pids))
    samples = 0
    with log.open("wb") as output:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=environment
        )
        try:
            while True:
                if samples % _SAMPLES_PER_SCAN == 0:
                    pids = process_tree(process.pid, *other_pids)
                samples += 1
                part = current_part()
                peaks = _update_peaks(peaks, part, measure_memory(pids))
                cpu = measure_cpu_seconds(pids)
                cpu_seconds[part] = cpu_seconds.get(part, 0) + cpu - cpu_before
                cpu_before = cpu
                try:
                    status = process.wait(INTERVAL)
                    return ProcessResult(status, time.perf_counter() - started, peaks, cpu_seconds)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()


def interrupt_on_sigterm() -> None:
    """Makes SIGTERM raise KeyboardInterrupt, so that a measured process ends with this one."""

    def interrupt(_signal: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def process_tree(*roots: int) -> list[int]:
    """Returns the ids of these processes and all their running descendants."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # the process has ended
            continue
        parent = int(stat.rpartition(")")[2].split()[1])  # the name before it may contain brackets
        children.setdefault(parent, []).append(int(folder.name))
    pids = list(roots)
    for ancestor in pids:
        pids += [child for child in children.get(ancestor, []) if child not in pids]
    return pids


def measure_memory(pids: Sequence[int]) -> Memory:
    """Returns the total memory of these processes."""
    own = resident = 0
    for pid in pids:
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8", errors="replace")
        except OSError:  # the process has ended
            continue
        sizes = {
            name: int(value.split()[0])
            for name, _, value in (line.partition(":") for line in status.splitlines())
            if name in (*_PRIVATE, "VmRSS")
        }
        own += sum(sizes.get(name, 0) for name in _PRIVATE)
        resident += sizes.get("VmRSS", 0)
    return Memory(own * 1024 / 1e6, resident * 1024 / 1e6)


def measure_cpu_seconds(pids: Sequence[int]) -> float:
    """Returns the user and system time of these processes, and of their children that have ended."""
    ticks = 0
    for pid in pids:
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # the process has ended, and its time is now its parent's
            continue
        ticks += sum(map(int, stat.rpartition(")")[2].split()[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _update_peaks(peaks: dict[str, Peak], part: str, sample: Memory) -> dict[str, Peak]:
    peak = peaks.get(part, Peak(sample, sample.own))
    largest = Memory(max(peak.memory.own, sample.own), max(peak.memory.resident, sample.resident))
    return {**peaks, part: Peak(largest, peak.before)}
