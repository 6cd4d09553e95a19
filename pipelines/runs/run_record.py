"""The run record: one run's state, steps and outcome, stored as `run.json` in the run's folder."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

RECORD_FILE = "run.json"
START_LOG = "00-Start.log"  # in the run's folder logs: the log until the first step
_EARLIER_RECORD_FILE = "summary.json"  # earlier versions wrote the record under this name
RUN_ID_FORMAT = "%Y-%m-%dT%H-%M-%SZ"  # the start of the run, in UTC
_EARLIER_RUN_ID_FORMAT = "%Y-%m-%dT%H-%M-%S"  # earlier versions: in local time
EXIT_NOT_PUSHED = 3  # the run is complete, and its model was refused or not pushed
EXIT_INTERRUPTED = 130


def _keys(name: str, earlier_name: str) -> Any:
    """Returns a field that is also read from the key that earlier versions wrote."""
    return Field(validation_alias=AliasChoices(name, earlier_name))


class StepState(StrEnum):
    """The state of a step."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CACHED = "cached"  # an earlier run had the same inputs, settings and code: its outputs are reused
    REUSED = "reused"  # the step is before --from: an earlier run's outputs are reused without comparison
    SKIPPED = "skipped"  # --from and --to do not need the step
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_from_earlier_run(self) -> bool:
        """True if the step's outputs come from an earlier run."""
        return self in {StepState.CACHED, StepState.REUSED}

    @property
    def has_outputs(self) -> bool:
        """True if the next run can use the step's outputs."""
        return self is StepState.DONE or self.is_from_earlier_run


@dataclasses.dataclass(frozen=True)
class PushOutcome:
    """A pushed model.

    Attributes:
        version: The model version, which is the name of its folder.
        path: The model's folder or gs:// address.
        already_pushed: True if an earlier run pushed the same model, so that this run pushed nothing.
        no_longer_served: True if the model repository no longer serves the model.
    """

    version: str
    path: str
    already_pushed: Annotated[bool, _keys("already_pushed", "earlier")] = False
    no_longer_served: Annotated[bool, _keys("no_longer_served", "missing")] = False


@dataclasses.dataclass(frozen=True)
class ServingCheckOutcome:
    """The result of the serving check, which loads the model into a server before the push.

    Attributes:
        passed: True if the model may be pushed.
        problems: Reasons why it may not be pushed, one phrase each.
        server: Name of the server; None if no server was started.
        images: Number of images that were sent.
        largest_difference: Largest absolute difference between the server's probabilities and the
            Evaluator's.
        p95_ms: 95th percentile of the latency of requests with one image, in milliseconds, by protocol.
    """

    passed: bool
    problems: list[str] = dataclasses.field(default_factory=list)
    server: str | None = None
    images: Annotated[int, _keys("images", "pictures")] = 0
    largest_difference: float | None = None
    p95_ms: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class RunOutcome:
    """The outcome of a run that is complete.

    Attributes:
        metrics: `accuracy`, `auc` and `loss` on the test split, and the number of `examples`; empty if the
            run computed no metrics.
        intervals: Lower and upper bound of the 95 % interval of the first three.
        blessed: The quality gate's verdict; None if the gate did not run.
        sentence: The verdict's explanation in one sentence.
        reasons: One sentence for each failed rule that `sentence` does not explain, and for an override.
        overridden: True if a person overrode the gate's refusal.
        report: Folder of the report artifact; None if there is no report.
        predictions: Folder of the prediction table; None if there is none, also in earlier versions' records.
        push: The pushed model; None if nothing was pushed.
        pusher_ran: True if the Pusher ran; `--to` may end a run before it.
        not_pushed_reason: Why the Pusher did not push the model; None if it gave no reason.
        check: The serving check's result; None if the check did not run.
    """

    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    blessed: bool | None = None
    sentence: str = ""
    reasons: list[str] = dataclasses.field(default_factory=list)
    overridden: bool = False
    report: str | None = None
    predictions: str | None = None
    push: PushOutcome | None = None
    pusher_ran: Annotated[bool, _keys("pusher_ran", "reached_pusher")] = False
    not_pushed_reason: Annotated[str | None, _keys("not_pushed_reason", "not_pushed")] = None
    check: ServingCheckOutcome | None = None

    @property
    def exit_status(self) -> int:
        """0 if the model is blessed and pushed, or if `--to` ended the run before; 3 if it was not pushed."""
        if self.blessed is False or (self.check and not self.check.passed):
            return EXIT_NOT_PUSHED
        is_served = self.push is not None and not self.push.no_longer_served
        return 0 if is_served or not self.pusher_ran else EXIT_NOT_PUSHED

    @property
    def verdict(self) -> str:
        """`blessed`, `overridden` or `refused`; empty if the quality gate did not run."""
        if self.blessed is None:
            return ""
        return ("overridden" if self.overridden else "blessed") if self.blessed else "refused"


class StepRecord(BaseModel):
    """The state of one step of a run.

    Attributes:
        state: The state.
        seconds: Duration; None until the step has ended.
        started: Start in seconds since the epoch; None before the start, and in records of earlier versions.
        text: The step's latest progress message.
    """

    state: StepState = StepState.WAITING
    seconds: float | None = None
    started: float | None = None
    text: str = ""


class RunRecord(BaseModel):
    """The record of a run, written from the first step on and after each change.

    Earlier versions wrote it once, at the end of a run, without the fields that have a default here.

    Attributes:
        run_id: Name of the run and of its folder.
        state: State of the run; stays `running` in the file of a run that was killed.
        exit_status: Exit status of the command; None while it runs.
        seconds: Duration of the command; None while it runs.
        steps: The steps by node id, in pipeline order; empty until the pipeline has been built.
        outcome: What the run produced; None unless the run is complete.
        message: The error; None if the run is complete.
        is_expected: True if the message explains the error fully; otherwise the log has the details.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    run_id: str
    state: Literal["running", "done", "refused", "failed", "interrupted"] = "running"
    exit_status: int | None = None
    seconds: float | None = None
    steps: dict[str, StepRecord] = {}
    outcome: RunOutcome | None = None
    message: str | None = None
    is_expected: bool = False

    @property
    def started(self) -> datetime:
        """Start of the run, as its id states it, in local time."""
        return parse_run_id(self.run_id).astimezone()

    @property
    def running_step(self) -> str | None:
        """Node id of the step that is running; None if none is."""
        return self.last_step_in(StepState.RUNNING)

    def last_step_in(self, state: StepState) -> str | None:
        """Returns the node id of the last step in this state, or None."""
        return next((name for name, step in reversed(self.steps.items()) if step.state is state), None)

    def position(self, step: str) -> int:
        """Returns the position of a step in the pipeline, from 1."""
        return list(self.steps).index(step) + 1

    def write(self, run_dir: Path) -> None:
        """Writes the record into the run's folder, atomically."""
        temporary_path = run_dir / f"{RECORD_FILE}.part"
        temporary_path.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        temporary_path.replace(run_dir / RECORD_FILE)


def parse_run_id(run_id: str) -> datetime:
    """Returns the time that a run id states: in UTC, or without a time zone if an earlier version wrote it.

    Raises:
        ValueError: This is not a run id.
    """
    if run_id.endswith("Z"):
        return datetime.strptime(run_id, RUN_ID_FORMAT).replace(tzinfo=UTC)
    return datetime.strptime(run_id, _EARLIER_RUN_ID_FORMAT)


def is_run_id(name: str) -> bool:
    """Returns True if the name of a folder is a run id."""
    try:
        parse_run_id(name)
    except ValueError:
        return False
    return True


def read_record(run_dir: Path) -> RunRecord:
    """Reads a run's record, also one that an earlier version wrote as `summary.json`.

    A run without a readable record is about to start or was killed: its state is `running`.
    """
    path = run_dir / RECORD_FILE
    try:
        content = (path if path.exists() else run_dir / _EARLIER_RECORD_FILE).read_bytes()
        return RunRecord.model_validate_json(content)
    except (OSError, ValueError):
        return RunRecord(run_id=run_dir.name)
