"""What machine a benchmark ran on."""

from __future__ import annotations

import os
from importlib import metadata
from pathlib import Path

from components import fingerprint

_PINNED = Path(__file__).resolve().parent.parent / "requirements" / "project.txt"


def describe() -> dict[str, str | int]:
    """Returns the machine's cores, processor and memory, and the versions that matter."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _first("/proc/cpuinfo", "model name"),
        "memory_mb": int(_first("/proc/meminfo", "MemTotal").split()[0]) // 1000,
        "tensorflow": metadata.version("tensorflow"),
        "tfx": metadata.version("tfx"),
    }


def pinned() -> str:
    """Returns a fingerprint of the packages that the project pins, and of their versions."""
    return fingerprint.of_file(_PINNED)[:8]


def load() -> float:
    """Returns the load over the last minute: how many processes wanted a core."""
    return round(os.getloadavg()[0], 2)


def sentence(machine: dict[str, str | int]) -> str:
    """Returns the description in words."""
    return (
        f"{machine['cores']} cores ({machine['processor']}), {int(machine['memory_mb']) / 1000:.0f} GB of "
        f"memory, TensorFlow {machine['tensorflow']}, TFX {machine['tfx']}"
    )


def _first(file: str, key: str) -> str:
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return next(
        (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key),
        "0",
    )
