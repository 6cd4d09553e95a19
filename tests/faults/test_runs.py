"""Runs that are killed, or whose disk fills up, in each step and each training phase: the next run resumes.

All runs use one output root, so that each one resumes the run before it, up to the next fault.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from ml_metadata.proto import metadata_store_pb2

from components.quality_gate import verdict
from pipelines.disk_errors import MIN_FREE_BYTES
from pipelines.runs import lock
from pipelines.runs.metadata import open_store, run_outputs
from pipelines.runs.run_folders import load_run_records
from pipelines.settings.loading import load
from serving.repository.versions import list_versions
from tests.e2e.driver import BEFORE_TRANSFORM, LOOKUPS, STEPS
from tests.processes import mark, marked

pytestmark = [pytest.mark.slow, pytest.mark.e2e]

_PARENT = """
import os, sys
from components.errors import PipelineError
from pipelines.local.run import run_locally
from pipelines.local.summary import RunOptions
from pipelines.settings.loading import load
options = RunOptions(to_node=os.environ.get("TO_NODE"))
try:
    sys.exit(run_locally(load(overrides=sys.argv[1:]), options, pipeline="faulty_pipeline:build"))
except PipelineError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
"""
_SETTINGS = {
    "data.sample.count": 40,
    "data.split": "{train: 0.5, eval: 0.25, test: 0.25}",
    "training.image_size": 32,
    "training.weights": "random",
    "training.frozen.epochs": 2,
    "training.fine_tuning.epochs": 2,
    "training.patience": 2,
    "evaluation.min_accuracy": 0,
    "evaluation.min_slice_accuracy": 0,
    "evaluation.max_calibration_error": "null",
    "evaluation.min_prediction_consistency": 0,
}
_DISK_SIZE = 2 * MIN_FREE_BYTES
_TIMEOUT = 300.0  # seconds; many times the duration of a run
_MAX_SECONDS_AFTER_FAULT = 60.0

# In the order of the pipeline. A text is the start of a progress message of the Trainer: the second fault of
# a phase comes one epoch after the first, because a finished epoch is not repeated.
_FAULTS_AT = (
    "CuratedSchema",
    "ImageExampleGen",
    "StatisticsGen",
    "AcceptedData",
    "ExampleValidator",
    "DataGate",
    "Transform",
    "features of train: ",
    "frozen: epoch {epoch} of 2 done",
    "fine-tuning: epoch {epoch} of 2 done",
    "Trainer",
    "BestModel",
    "BlessedModel",
    "PredictionTable",
    "Evaluator",
    "ServingCheck",
    "QualityGate",
    "EvaluationReport",
    "Pusher",
)
_REPRESENTATIVE = "ImageExampleGen"


@dataclass(frozen=True)
class Run:
    """A run that has ended: exit status, stdout, stderr, and seconds since the fault."""

    status: int
    out: str
    err: str
    seconds_after_fault: float | None

    def steps(self, state: str) -> set[str]:
        """Returns the steps that ended in this state."""
        lines = (line.partition("] ")[2].split(": ") for line in self.out.splitlines() if "] " in line)
        return {step for step, *text in lines if text and text[0].split(" in ")[0] == state}


@dataclass
class Chain:
    """Runs in one output root.

    Attributes:
        root: The output root, a tmpfs if the user may mount one.
        is_disk: True if it is a tmpfs.
        finished: Steps that an earlier run has finished.
    """

    root: Path
    is_disk: bool
    finished: set[str] = field(default_factory=set)

    def start(
        self, fault: str = "", at: str = "", settings: Sequence[str] = (), clock: str = ""
    ) -> subprocess.Popen[str]:
        """Starts a run that has a fault.

        `clock` is an offset as the command `faketime` takes it. Such a run ends before ServingCheck, because
        `faketime` breaks the time-outs of processes.
        """
        self._fault_mark.unlink(missing_ok=True)
        overrides = [f"{name}={value}" for name, value in {**_SETTINGS, "output_root": self.root}.items()]
        environment = {
            **mark(self.root),
            "FAULT": fault,
            "FAULT_AT": at,
            "FAULT_MARK": str(self._fault_mark),
            "PYTHONPATH": str(Path(__file__).parent),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            **({"TO_NODE": "Evaluator"} if clock else {}),
        }
        return subprocess.Popen(
            [
                *(["faketime", "-f", clock] if clock else []),
                *(sys.executable, "-c", _PARENT, *overrides, *settings),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | environment,
            start_new_session=True,
        )

    def run(self, *arguments: Any, **options: Any) -> Run:
        """Runs the pipeline as `start` does, up to the fault or to the end."""
        return self.wait(self.start(*arguments, **options))

    def wait(self, process: subprocess.Popen[str]) -> Run:
        """Waits for a run, which must reuse all that earlier runs have finished."""
        try:
            out, err = process.communicate(timeout=_TIMEOUT)
        finally:
            process.kill()
        ended = time.time()
        seconds = ended - self._fault_mark.stat().st_mtime if self._fault_mark.exists() else None
        run = Run(process.returncode, out, err, seconds)
        assert self.finished & run.steps("done") <= LOOKUPS, f"{out}{err}"
        self.finished |= run.steps("done")
        return run

    @property
    def _fault_mark(self) -> Path:
        return self.root.with_suffix(".fault")

    def remount(self, option: str) -> None:
        """Changes an option of the tmpfs."""
        subprocess.run(["mount", "-o", f"remount,{option}", str(self.root)], check=True)

    @property
    def served(self) -> Path:
        """The model repository."""
        return self.root / "serving_model" / "catsdogs"


def _becomes(state: Callable[[], bool]) -> bool:
    """Returns True as soon as `state()` does, False after a minute."""
    deadline = time.monotonic() + 60
    while not state():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    root = tmp_path_factory.mktemp("faults") / "output"
    root.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_DISK_SIZE}", "tmpfs", str(root)]
    is_disk = subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0
    yield Chain(root, is_disk)
    if is_disk:
        subprocess.run(["umount", "--lazy", str(root)], check=True)


@pytest.mark.parametrize(
    ("at", "fault"),
    [
        pytest.param(at.format(epoch=epoch), fault, marks=[] if at == _REPRESENTATIVE else pytest.mark.faults)
        for at in _FAULTS_AT
        for epoch, fault in enumerate(("full", "kill"), start=1)
    ],
)
def test_a_run_with_a_fault_resumes_the_one_before(chain: Chain, at: str, fault: str) -> None:
    if fault == "full" and not chain.is_disk:
        pytest.skip("this user may not mount a tmpfs, which the test fills")
    run = chain.run(fault, at)
    if fault == "full":
        chain.remount(f"size={_DISK_SIZE}")
    assert run.seconds_after_fault is not None, run.out + run.err
    assert run.seconds_after_fault < _MAX_SECONDS_AFTER_FAULT
    print(f"{fault} at {at}: ended {run.seconds_after_fault:.1f} s after the fault")
    assert at not in run.steps("done")
    if fault == "full":
        sentence = run.err.splitlines()[0]
        assert run.status == 1, run.out
        assert all(part in sentence for part in (str(chain.root), "is full", "1 GB")), run.err
        assert "Traceback" not in run.out + run.err
    assert _becomes(lambda: not marked(chain.root) and lock.holder_purpose(chain.root) is None)


def test_the_run_after_all_faults_pushes_its_model_undisturbed_by_another(chain: Chain) -> None:
    finished = set(chain.finished)
    process = chain.start()
    assert _becomes(lambda: lock.holder_purpose(chain.root) is not None)
    second = chain.start()
    out, err = second.communicate(timeout=_TIMEOUT)
    assert second.returncode == 1, out
    assert str(process.pid) in err

    run = chain.wait(process)
    assert run.status == 0, run.out + run.err
    assert run.steps("cached") | run.steps("done") == STEPS
    assert run.steps("cached") >= finished - LOOKUPS
    assert len(list_versions(chain.served)) == 1
    assert marked(chain.root) == []
    store = open_store(chain.root / "metadata.sqlite")
    assert store is not None
    complete = {
        str(execution.id)
        for execution in store.get_executions()
        if execution.last_known_state == metadata_store_pb2.Execution.COMPLETE
    }
    outputs = {folder.name for folder in chain.root.glob("artifacts/*/*/[0-9]*")}
    assert outputs <= complete


@pytest.mark.faults
def test_training_resumed_after_the_last_finished_epoch_of_each_phase(chain: Chain) -> None:
    logs = "".join(log.read_text() for log in chain.root.glob("runs/*/logs/*-Trainer.log"))
    for phase in ("frozen", "fine-tuning"):
        for epoch in (1, 2):
            assert f"{phase}: resuming after epoch {epoch} of 2" in logs


@pytest.mark.faults
def test_a_run_after_the_clock_was_set_back_is_the_newest(
    require_tool: Callable[[str], str], tmp_path: Path
) -> None:
    require_tool("faketime")
    chain = Chain(tmp_path / "output", is_disk=False)
    assert chain.run().status == 0
    versions = list_versions(chain.served)
    chain.finished -= STEPS - BEFORE_TRANSFORM - {"Transform"}  # because a setting of the Trainer has changed
    behind = chain.run(settings=["training.seed=1"], clock="-400d")
    assert behind.status == 0, behind.out + behind.err
    settings = load(overrides=[f"output_root={chain.root}"])
    assert load_run_records(settings)[0].run_id in behind.out
    run = chain.run(settings=["training.seed=1"])
    assert run.status == 0, run.out + run.err
    newest = load_run_records(settings)[0]
    assert newest.run_id in run.out
    assert newest.outcome is not None
    assert newest.outcome.push is not None
    [*_, previous, pushed] = list_versions(chain.served)
    assert (previous, str(pushed)) == (versions[-1], newest.outcome.push.version)
    store = open_store(chain.root / "metadata.sqlite")
    assert store is not None
    judged = verdict.read(run_outputs(store, newest.run_id)["QualityGate.blessing"].artifact.uri)
    assert judged is not None
    assert judged.baselines["newest"] == "compared"


def test_a_run_on_a_read_only_disk_is_refused_and_the_runs_are_still_listed(chain: Chain) -> None:
    if not chain.is_disk:
        pytest.skip("this user may not mount a tmpfs, which the test makes read-only")
    runs = [sys.executable, "-m", "pipelines.cli", "runs", "--json", "--set", f"output_root={chain.root}"]
    before = subprocess.run(runs, check=True, capture_output=True).stdout
    chain.remount("ro")
    try:
        run = chain.run()
        listed = subprocess.run(runs, check=True, capture_output=True).stdout
    finally:
        chain.remount("rw")
    [sentence] = run.err.splitlines()
    assert (run.status, run.out) == (1, "")
    assert all(part in sentence for part in (str(chain.root), "read-only", "--set output_root=DIR"))
    assert listed == before
