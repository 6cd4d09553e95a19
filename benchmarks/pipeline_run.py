"""Runs `catsdogs run` in a fresh output root, and reads what it has left there."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.results import Measured
from benchmarks.watched import RunFailed, Watched, watch
from components import fingerprint

AROUND = "start and end"  # imports, the pipeline's making, the summary: all that is no step

_LOG_OF_START = "Start"
_LAST_LINES = 3
_CONFIGS = Path(__file__).resolve().parent.parent / "configs"


def code() -> str:
    """Returns a fingerprint of all that a run and its measuring depend on and that is ours."""
    measuring = ("benchmarks.pipeline_run", "benchmarks.watched")
    modules = fingerprint.of_code("components", "pipelines", "serving", "trainer", *measuring)
    return f"{modules[:12]}{fingerprint.of_folder(_CONFIGS)[:4]}"


def run(what: str, seed: int, asked: str, trained: int, options: Sequence[str], log: Path) -> Measured:
    """Runs the pipeline from nothing, in a temporary folder that is removed afterwards.

    Args:
        what: As in Measured.
        seed: Of the training.
        asked: As in Measured.
        trained: Number of pictures that it has to train on.
        options: Of `catsdogs run`; seed and output root are added.
        log: Takes what it prints.

    Raises:
        RunFailed: It did not come to its end.
    """
    load = machine.load()
    with tempfile.TemporaryDirectory(prefix="catsdogs-benchmark-") as folder:
        output_root = Path(folder) / "output"
        command = [str(Path(sys.executable).with_name("catsdogs")), "run", *options]
        command += ["--set", f"training.seed={seed}", "--set", f"output_root={output_root}"]
        watched = watch(command, log, lambda: step_at_work(output_root))
        summaries = list(output_root.glob("runs/*/summary.json"))
        summary = json.loads(summaries[0].read_text(encoding="utf-8")) if summaries else {}
        if not summary.get("outcome"):
            raise RunFailed(why("catsdogs run", watched, log))
        cached = output_root.glob("feature_cache/**/*")
        return Measured(
            what=what,
            seed=seed,
            asked=asked,
            load=load,
            trained=trained,
            peaks={AROUND if part == _LOG_OF_START else part: peak for part, peak in watched.peaks.items()},
            cache_mb=sum(path.stat().st_size for path in cached if path.is_file()) / 1e6,
            **told(summary, watched.seconds),
        )


def step_at_work(output_root: Path) -> str:
    """Returns the step whose log is the newest."""
    logs = sorted(path.stem for path in output_root.glob("runs/*/logs/*.log"))
    return logs[-1].partition("-")[2] if logs else _LOG_OF_START


def told(summary: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Returns the fields of Measured that a run's `summary.json` tells.

    Args:
        summary: Its contents, of a run that came to its end.
        seconds: From the start of the command to its end, as seen from outside.
    """
    steps = {step: found["seconds"] for step, found in summary["steps"].items()}
    metrics = summary["outcome"]["metrics"]
    pictures = int(metrics["examples"])
    return {
        "seconds": seconds,
        "parts": {AROUND: seconds - sum(steps.values()), **steps},
        "pictures": pictures,
        "correct": {"end": round(metrics["accuracy"] * pictures)},
        "pushed": summary["outcome"]["push"] is not None,
    }


def why(name: str, watched: Watched, log: Path) -> str:
    """Returns what is said where a process did not do what it was started for."""
    said = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-_LAST_LINES:]
    ended = f"{name} ended with status {watched.status}, so there is nothing to measure. {log} ends with:"
    return "\n".join([ended, *said])
