"""Measurements of a benchmark, saved in a file so that an interrupted benchmark resumes."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.process_monitor import Memory, Peak, ProcessFailed


@dataclass(frozen=True)
class Measurement:
    """The measurement of one process.

    Attributes:
        name: What was measured, for example `catsdogs run`.
        seed: Seed of the training.
        inputs: Text that identifies everything else that the result depends on.
        load: Load average in the minute before.
        seconds: Total time, including imports.
        parts: Seconds of each part, in order; they add up to `seconds`.
        peaks: Peak memory by part, or under `name` if the process was measured as a whole.
        train_images: Number of images to train on, or of all images if the run splits off its own `test`.
        test_images: Number of images that the model is evaluated on.
        correct: Number of correct predictions after each evaluated phase; the last one is the result.
        is_pushed: Whether the run pushed its model.
        cache_mb: Megabytes of the feature cache that the run left on disk.
        cpu_seconds: User and system time of all threads, by part.
    """

    name: str
    seed: int
    inputs: str
    load: float
    seconds: float
    parts: dict[str, float]
    peaks: dict[str, Peak]
    train_images: int
    test_images: int
    correct: dict[str, int] = field(default_factory=dict)
    is_pushed: bool = True
    cache_mb: float = 0.0
    cpu_seconds: dict[str, float] = field(default_factory=dict)

    @property
    def peak(self) -> Memory:
        """The peak memory over all parts."""
        memories = [peak.memory for peak in self.peaks.values()]
        return Memory(max(memory.own for memory in memories), max(memory.resident for memory in memories))


class MeasurementsFile:
    """Measurements in a JSON file; each is saved as soon as it is made.

    Args:
        file: The file, which may hold earlier measurements.
        machine: Description of the machine, saved with them.
        discard: Whether to discard earlier measurements.
    """

    def __init__(self, file: Path, machine: Mapping[str, str | int], discard: bool) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file
        self._machine = dict(machine)
        stored = json.loads(file.read_text()) if file.exists() and not discard else {}
        self.measurements = list(map(_parse, stored.get("measurements", [])))

    def get_or_measure(
        self,
        name: str,
        seed: int,
        inputs: str,
        measure: Callable[[], Measurement],
        current_inputs: Callable[[], str],
    ) -> Measurement:
        """Returns a saved measurement, or makes and saves it.

        Exits if the process fails, or if its inputs changed while it ran, because a process imports the code
        that it finds at that moment.

        Args:
            name: As in Measurement.
            seed: As in Measurement.
            inputs: As in Measurement.
            measure: Makes the measurement.
            current_inputs: Returns `inputs` as they are now.
        """
        title = f"{name}, seed {seed}"
        for measurement in self.measurements:
            if (measurement.name, measurement.seed, measurement.inputs) == (name, seed, inputs):
                print(f"{title}: measured before (--anew measures again)", flush=True)
                return measurement
        print(f"{title} …", flush=True)
        try:
            measurement = measure()
        except ProcessFailed as error:
            sys.exit(str(error))
        if current_inputs() != inputs:
            sys.exit(
                f"{title}: not saved, because code, images or pinned packages changed during the run. "
                "Run the command again and change nothing until it ends."
            )
        self.measurements.append(measurement)
        self._write()
        print(f"{title}: {measurement.seconds:.0f} s", flush=True)
        return measurement

    def _write(self) -> None:
        temporary_path = self._file.with_name(f"{self._file.name}.part")
        contents = {"machine": self._machine, "measurements": list(map(asdict, self.measurements))}
        temporary_path.write_text(json.dumps(contents, indent=2) + "\n")
        temporary_path.rename(self._file)


def _parse(fields: dict[str, Any]) -> Measurement:
    peaks = {
        part: Peak(Memory(**peak["memory"]), peak["before"]) for part, peak in fields.pop("peaks").items()
    }
    return Measurement(**fields, peaks=peaks)
