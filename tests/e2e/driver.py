"""Runs the `catsdogs` command in a separate process, as a user does, and reads its run folders."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml_metadata.proto.metadata_store_pb2 import Artifact

from pipelines.runs.metadata import open_store
from serving.repository.versions import list_versions
from tests.processes import mark, marked

LOOKUPS = {
    "AcceptedData",
    "BlessedModel",
    "BestModel",
}  # resolvers are never cached
BEFORE_TRANSFORM = {"CuratedSchema", "ImageExampleGen", "StatisticsGen", "ExampleValidator", "DataGate"}
TRAINING = {"Transform", "Trainer"}
JUDGEMENT = {"PredictionTable", "Evaluator", "ServingCheck", "QualityGate", "EvaluationReport", "Pusher"}
STEPS = LOOKUPS | BEFORE_TRANSFORM | TRAINING | JUDGEMENT

_PROJECT = Path(__file__).resolve().parents[2]
_PACKAGES = ("components", "pipelines", "serving", "trainer")
_COMMAND = Path(sys.executable).with_name("catsdogs")
_TIMEOUT = 900.0  # seconds; many times the duration of a run


@dataclass(frozen=True)
class Run:
    """A command that has ended.

    Attributes:
        status: Its exit status; negative: the signal that killed it.
        output: Its stdout and stderr.
        folder: The run's folder; None if the command created none.
        pushed: Folders of the versions in the model repository at the end of the run, oldest first.
    """

    status: int
    output: str
    folder: Path | None
    pushed: list[Path]

    @property
    def record(self) -> dict[str, Any]:
        """The contents of `run.json`."""
        assert self.folder is not None, self.output
        record: dict[str, Any] = json.loads((self.folder / "run.json").read_text())
        return record

    @property
    def accuracy(self) -> float:
        """The accuracy on `test` in the run record."""
        accuracy: float = self.record["outcome"]["metrics"]["accuracy"]
        return accuracy

    @property
    def report(self) -> Path:
        """The copy of the report in the run's folder."""
        assert self.folder is not None, self.output
        return self.folder / "report.html"

    def steps(self, state: str) -> set[str]:
        """The steps that ended in this state."""
        return {step for step, facts in self.record["steps"].items() if facts["state"] == state}

    def log(self, step: str) -> str:
        """The log of a step; empty if the step did not start."""
        assert self.folder is not None, self.output
        return "".join(path.read_text() for path in (self.folder / "logs").glob(f"*-{step}.log"))


class Workshop:
    """A copy of the project's packages, which a test may edit, and an output root for the command.

    Attributes:
        code: The copy.
        output: The output root.
    """

    def __init__(self, folder: Path) -> None:
        self.code = folder / "code"
        self.output = folder / "output"
        for part in (*_PACKAGES, "configs"):
            shutil.copytree(_PROJECT / part, self.code / part, ignore=shutil.ignore_patterns("__pycache__"))
        self._environment = (
            os.environ
            | {
                "PYTHONPATH": os.pathsep.join(filter(None, [str(self.code), os.environ.get("PYTHONPATH")])),
            }
            | mark(self.output)
        )
        found = self._python("\n".join(f"import {name}; print({name}.__file__)" for name in _PACKAGES))
        assert found.split() == [str(self.code / name / "__init__.py") for name in _PACKAGES]

    def run(self, *arguments: str) -> Run:
        """Runs `catsdogs run` to its end."""
        return self.run_until(lambda _: False, *arguments)

    def bless(self, run: Run, *arguments: str) -> Run:
        """Runs `catsdogs bless` for a run, and returns the new run."""
        assert run.folder is not None
        return self.run_until(lambda _: False, run.folder.name, *arguments, command="bless")

    def run_command(self, *arguments: str) -> str:
        """Runs another command, which must succeed, and returns its stdout."""
        return subprocess.run(
            [_COMMAND, *arguments, "--set", f"output_root={self.output}"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            cwd=self.output.parent,
            env=self._environment | {"COLUMNS": "200"},
            check=True,
        ).stdout

    def run_until(self, is_enough: Callable[[Run], bool], *arguments: str, command: str = "run") -> Run:
        """Runs `catsdogs run` to its end, or kills it (-9) once `is_enough` returns True."""
        earlier = self._run_folders()
        log = self.output.with_suffix(".txt")
        with log.open("wb") as file:
            process = subprocess.Popen(
                [_COMMAND, command, "--set", f"output_root={self.output}", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                cwd=self.output.parent,
                env=self._environment | {"COLUMNS": "200"},
            )
        deadline = time.monotonic() + _TIMEOUT
        try:
            while process.poll() is None:
                assert time.monotonic() < deadline, f"not done after {_TIMEOUT:.0f} s: {log.read_text()}"
                folder = next(iter(self._run_folders() - earlier), None)
                if folder and is_enough(Run(0, "", folder, [])):
                    break
                time.sleep(0.1)
        finally:
            process.kill()
            status = process.wait()
        folder = next(iter(self._run_folders() - earlier), None)
        served = self.output / "serving_model" / "catsdogs"
        return Run(
            status, log.read_text(), folder, [served / str(version) for version in list_versions(served)]
        )

    def processes(self) -> list[str]:
        """Returns the command lines of all live processes that the command has started, also indirectly."""
        return marked(self.output)

    def artifacts(self, run: Run, step: str) -> dict[str, Artifact]:
        """Returns the input and output artifacts of a step, by the names of its inputs and outputs."""
        assert run.folder is not None, run.output
        store = open_store(self.output / "metadata.sqlite")
        assert store is not None
        of_run = store.get_context_by_type_and_name("pipeline_run", run.folder.name)
        of_step = store.get_context_by_type_and_name("node", f"catsdogs.{step}")
        [execution] = {found.id for found in store.get_executions_by_context(of_run.id)} & {
            found.id for found in store.get_executions_by_context(of_step.id)
        }
        events = store.get_events_by_execution_ids([execution])
        found = store.get_artifacts_by_id([event.artifact_id for event in events])
        by_id = {artifact.id: artifact for artifact in found}
        return {event.path.steps[0].key: by_id[event.artifact_id] for event in events}

    def edit(self, path: str, old: str, new: str) -> None:
        """Replaces a text, which must occur exactly once, in a file of the copy."""
        file = self.code / path
        text = file.read_text()
        assert text.count(old) == 1
        file.write_text(text.replace(old, new))

    def _run_folders(self) -> set[Path]:
        return set((self.output / "runs").glob("*"))

    def _python(self, code: str) -> str:
        return subprocess.run(
            [sys.executable, "-P", "-c", code],
            env=self._environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
