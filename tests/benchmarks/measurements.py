"""Measurements with round figures, of either side."""

from __future__ import annotations

from benchmarks.compare_table import PIPELINE, TUTORIAL
from benchmarks.results import Measured
from benchmarks.watched import Memory, Peak

HERE: dict[str, str | int] = {
    "cores": 2,
    "processor": "Some CPU",
    "memory_mb": 16_000,
    "tensorflow": "2.21.0",
    "tfx": "1.21.0",
}


def peak(own: float, before: float = 100.0) -> Peak:
    return Peak(Memory(own, own + 500), before)


def tutorial(seed: int = 0, frozen: float = 200.0, correct: int = 979, asked: str = "script") -> Measured:
    parts = {"imports": 20.0, "pictures and network": 10.0, "frozen": frozen, "fine-tuning": 270.0}
    return Measured(
        what=TUTORIAL,
        seed=seed,
        asked=asked,
        load=0.1,
        seconds=sum(parts.values()),
        parts=parts,
        peaks={TUTORIAL: peak(1500)},
        trained=2000,
        pictures=1000,
        correct={"frozen": 964, "fine-tuning": correct},
    )


def ours(
    seed: int = 0, trainer: float = 60.0, correct: int = 987, pushed: bool = True, asked: str = "code"
) -> Measured:
    parts = {"start and end": 20.0, "Transform": 10.0, "Trainer": trainer, "Evaluator": 10.0, "Pusher": 0.3}
    return Measured(
        what=PIPELINE,
        seed=seed,
        asked=asked,
        load=0.1,
        seconds=sum(parts.values()),
        parts=parts,
        peaks={part: peak(1000 + 100 * place) for place, part in enumerate(parts)},
        trained=2000,
        pictures=1000,
        correct={"end": correct},
        pushed=pushed,
    )
