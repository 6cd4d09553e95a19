"""Describes the machine that a benchmark runs on."""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from components import fingerprint

_REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements" / "project.txt"


def describe() -> dict[str, str | int]:
    """Returns the machine's cores, processor and memory, and the versions of TensorFlow and TFX."""
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": _read_value("/proc/cpuinfo", "model name"),
        "memory_mb": int(_read_value("/proc/meminfo", "MemTotal").split()[0]) // 1000,
        "tensorflow": metadata.version("tensorflow"),
        "tfx": metadata.version("tfx"),
    }


def requirements_fingerprint() -> str:
    """Returns a fingerprint of the pinned packages and their versions."""
    return fingerprint.of_file(_REQUIREMENTS)[:8]


def load() -> float:
    """Returns the load average of the last minute: the number of runnable processes."""
    return round(os.getloadavg()[0], 2)


def format_machine(machine: Mapping[str, str | int]) -> str:
    """Returns the result of `describe` as text."""
    return (
        f"{machine['cores']} cores ({machine['processor']}), {int(machine['memory_mb']) / 1000:.0f} GB of "
        f"memory, TensorFlow {machine['tensorflow']}, TFX {machine['tfx']}"
    )


def _read_value(file: str, key: str) -> str:
    lines = Path(file).read_text(encoding="utf-8").splitlines()
    return next(
        (value.strip() for name, _, value in (line.partition(":") for line in lines) if name.strip() == key),
        "0",
    )
