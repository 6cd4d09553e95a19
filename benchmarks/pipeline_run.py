"""Measures `catsdogs run` in a fresh output root."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.measurements import Measurement
from benchmarks.process_monitor import ProcessFailed, ProcessResult, run_monitored
from components import fingerprint

START_AND_END = "start and end"  # time outside all steps: imports, building the pipeline, the summary
CATSDOGS_RUN = (str(Path(sys.executable).with_name("catsdogs")), "run")

_START_LOG = "Start"  # name of the log before the first step
_LAST_LINES = 3
_CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def code_fingerprint() -> str:
    """Returns a fingerprint of the project's code and configs that a run and its measurement depend on."""
    benchmark_modules = ("benchmarks.pipeline_run", "benchmarks.process_monitor")
    modules = fingerprint.of_code("components", "pipelines", "serving", "trainer", *benchmark_modules)
    return f"{modules[:12]}{fingerprint.of_folder(_CONFIGS)[:4]}"


def current_step(output_root: Path) -> str:
    """Returns the name of the step with the newest log, or `START_AND_END` before the first step."""
    logs = sorted(path.stem for path in output_root.glob("runs/*/logs/*.log"))
    name = logs[-1].partition("-")[2] if logs else _START_LOG
    return START_AND_END if name == _START_LOG else name


def measure(
    name: str,
    seed: int,
    inputs: str,
    train_images: int,
    options: Sequence[str],
    log: Path,
    *,
    command: Sequence[str] = CATSDOGS_RUN,
    current_part: Callable[[Path], str] = current_step,
    other_pids: Sequence[int] = (),
) -> Measurement:
    """Runs the pipeline in a temporary output root beside the log, and measures it.

    Args:
        name: As in Measurement.
        seed: Seed of the training.
        inputs: As in Measurement.
        train_images: Number of images to train on.
        options: Options of the command; the seed and the output root are added.
        log: File for the command's output.
        command: The command.
        current_part: Returns the name of the current part from the output root.
        other_pids: Other processes that work for the run and are measured with it.

    Raises:
        ProcessFailed: The run did not finish.
    """
    load = machine.load()
    with tempfile.TemporaryDirectory(prefix="catsdogs-benchmark-", dir=log.parent.resolve()) as folder:
        output_root = Path(folder) / "output"
        settings = ("--set", f"training.seed={seed}", "--set", f"output_root={output_root}")
        result = run_monitored(
            [*command, *options, *settings], log, lambda: current_part(output_root), other_pids=other_pids
        )
        summaries = list(output_root.glob("runs/*/run.json"))
        summary = json.loads(summaries[0].read_text(encoding="utf-8")) if summaries else {}
        if not summary.get("outcome"):
            raise ProcessFailed(failure_message("catsdogs run", result, log))
        cached = output_root.glob("feature_cache/**/*")
        return Measurement(
            name=name,
            seed=seed,
            inputs=inputs,
            load=load,
            train_images=train_images,
            peaks=result.peaks,
            cpu_seconds=result.cpu_seconds,
            cache_mb=sum(path.stat().st_size for path in cached if path.is_file()) / 1e6,
            **parse_summary(summary, result.seconds),
        )


def parse_summary(summary: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Returns the fields of Measurement that `run.json` provides.

    Args:
        summary: Contents of the file, of a finished run.
        seconds: Time from start to end of the command.
    """
    steps = {name: step["seconds"] for name, step in summary["steps"].items() if step["seconds"] is not None}
    metrics = summary["outcome"]["metrics"]
    test_images = int(metrics.get("examples", 0))
    return {
        "seconds": seconds,
        "parts": {START_AND_END: seconds - sum(steps.values()), **steps},
        "test_images": test_images,
        "correct": {"end": round(metrics.get("accuracy", 0) * test_images)},
        "is_pushed": summary["outcome"]["push"] is not None,
    }


def failure_message(name: str, result: ProcessResult, log: Path) -> str:
    """Returns an error message with the exit status and the last lines of the log."""
    last_lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
    message = f"{name} failed with exit status {result.status}, so it cannot be measured. {log} ends with:"
    return "\n".join([message, *last_lines])
