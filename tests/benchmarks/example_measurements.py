"""Example measurements of both sides, with round numbers."""

from __future__ import annotations

from benchmarks.compare_table import PIPELINE, TUTORIAL
from benchmarks.measurements import Measurement
from benchmarks.process_monitor import Memory, Peak

MACHINE: dict[str, str | int] = {
    "cores": 2,
    "processor": "Some CPU",
    "memory_mb": 16_000,
    "tensorflow": "2.21.0",
    "tfx": "1.21.0",
}


def peak(own: float, before: float = 100.0) -> Peak:
    return Peak(Memory(own, own + 500), before)


def tutorial(seed: int = 0, frozen: float = 200.0, correct: int = 979, inputs: str = "script") -> Measurement:
    parts = {"imports": 20.0, "images and network": 10.0, "frozen": frozen, "fine-tuning": 270.0}
    return Measurement(
        name=TUTORIAL,
        seed=seed,
        inputs=inputs,
        load=0.1,
        seconds=sum(parts.values()),
        parts=parts,
        peaks={TUTORIAL: peak(1500)},
        train_images=2000,
        test_images=1000,
        correct={"frozen": 964, "fine-tuning": correct},
    )


def pipeline(
    seed: int = 0, trainer: float = 60.0, correct: int = 987, is_pushed: bool = True, inputs: str = "code"
) -> Measurement:
    parts = {"start and end": 20.0, "Transform": 10.0, "Trainer": trainer, "Evaluator": 10.0, "Pusher": 0.3}
    return Measurement(
        name=PIPELINE,
        seed=seed,
        inputs=inputs,
        load=0.1,
        seconds=sum(parts.values()),
        parts=parts,
        peaks={part: peak(1000 + 100 * index) for index, part in enumerate(parts)},
        train_images=2000,
        test_images=1000,
        correct={"end": correct},
        is_pushed=is_pushed,
    )
