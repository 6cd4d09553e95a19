"""A run from its start to its end: one record, which is sent, written, shown and listed."""

from __future__ import annotations

import dataclasses
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

NAME = "summary.json"  # in the run's folder
RUN_ID_FORMAT = "%Y-%m-%dT%H-%M-%S"  # when the run began, in local time
REFUSED = 3  # exit status of a run that came to its end and was not pushed
INTERRUPTED = 130


class State(StrEnum):
    """The state of a step."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    CACHED = "cached"  # the same inputs, settings and code as in an earlier run, whose outputs are taken
    REUSED = "reused"  # before --from: the outputs of an earlier run are taken unseen
    SKIPPED = "skipped"  # not needed for what --from and --to ask for
    FAILED = "failed"
    STOPPED = "stopped"

    @property
    def is_taken(self) -> bool:
        """Whether the step's outputs are those of an earlier run."""
        return self in {State.CACHED, State.REUSED}

    @property
    def is_kept(self) -> bool:
        """Whether the step's outputs are there for the next run."""
        return self is State.DONE or self.is_taken


@dataclasses.dataclass(frozen=True)
class Push:
    """A pushed model.

    Attributes:
        version: The sub-folder's number.
        path: Where it lies: a folder, or a gs:// address.
        earlier: Whether an earlier run pushed it, and this one found nothing new to push.
        missing: Whether it is served no longer.
    """

    version: str
    path: str
    earlier: bool = False
    missing: bool = False


@dataclasses.dataclass(frozen=True)
class Check:
    """What a server showed of a model before the push.

    Attributes:
        passed: Whether the model may be served.
        problems: Why not, one phrase each.
        server: Which one it was; None where it did not come to that.
        pictures: How many it was asked about.
        largest_difference: Of its probabilities from those that the Evaluator works with.
        p95_ms: Milliseconds that 95 of 100 single pictures were answered within, by protocol.
    """

    passed: bool
    problems: list[str] = dataclasses.field(default_factory=list)
    server: str | None = None
    pictures: int = 0
    largest_difference: float | None = None
    p95_ms: dict[str, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came out of a run that reached its end.

    Attributes:
        metrics: accuracy, auc, loss on `test`, and the number of examples; empty where nothing was measured.
        intervals: What the first three may be in truth: both ends of the 95 % interval.
        blessed: The gate's verdict; None where no gate was asked.
        sentence: Why, in one sentence.
        reasons: What is said of each rule that the model fails, and of an override.
        overridden: Whether a person lifted the gate's refusal.
        report: Folder of the report; None where none was made.
        push: The pushed model; None where none was.
        reached_pusher: Whether the step that pushes had its turn; `--to` may end a run before.
        not_pushed: Why that step left a model where it was, a sentence; None where it gave no reason.
        check: What a server showed of the model; None where none was asked.
    """

    metrics: dict[str, float] = dataclasses.field(default_factory=dict)
    intervals: dict[str, tuple[float, float]] = dataclasses.field(default_factory=dict)
    blessed: bool | None = None
    sentence: str = ""
    reasons: list[str] = dataclasses.field(default_factory=list)
    overridden: bool = False
    report: str | None = None
    push: Push | None = None
    reached_pusher: bool = False
    not_pushed: str | None = None
    check: Check | None = None

    @property
    def exit_status(self) -> int:
        """0 blessed and pushed, or stopped before that on demand; 3 refused."""
        if self.blessed is False or (self.check and not self.check.passed):
            return REFUSED
        served = self.push is not None and not self.push.missing
        return 0 if served or not self.reached_pusher else REFUSED

    @property
    def verdict(self) -> str:
        """`blessed`, `overridden`, `refused`, or nothing where no gate was asked."""
        if self.blessed is None:
            return ""
        return ("overridden" if self.overridden else "blessed") if self.blessed else "refused"


class Step(BaseModel):
    """One component's part in a run.

    Attributes:
        state: Where it stands.
        seconds: How long it took; None where it has not ended.
        started: When it began, in seconds of the epoch; None where it has not, or an older version wrote it.
        text: The last that it said about its progress.
    """

    state: State = State.WAITING
    seconds: float | None = None
    started: float | None = None
    text: str = ""


class RunRecord(BaseModel):
    """A run.

    `summary.json` in the run's folder holds it from the first step on. Versions before wrote the same file
    at the end of a run, without the fields that have a default here.

    Attributes:
        run_id: Name of the run and of its folder.
        state: Of the run; still `running` in the file of one that was killed.
        exit_status: What the command ended with; None while it runs.
        seconds: From the start of the command to its end; None while it runs.
        steps: The components in their order; empty until the pipeline has been built.
        outcome: What came out, where the run reached its end.
        message: What went wrong, otherwise.
        is_expected: Whether the message says it all; otherwise the log has the details.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    run_id: str
    state: Literal["running", "done", "refused", "failed", "interrupted"] = "running"
    exit_status: int | None = None
    seconds: float | None = None
    steps: dict[str, Step] = {}
    outcome: Outcome | None = None
    message: str | None = None
    is_expected: bool = False

    @property
    def started(self) -> datetime:
        """When it began, in local time."""
        return datetime.strptime(self.run_id, RUN_ID_FORMAT).astimezone()

    @property
    def running(self) -> str | None:
        """The step at work."""
        return self.last(State.RUNNING)

    def last(self, state: State) -> str | None:
        """Returns the last step in this state."""
        return next((step for step, of in reversed(self.steps.items()) if of.state is state), None)

    def position(self, step: str) -> int:
        """Returns a step's number, from 1."""
        return list(self.steps).index(step) + 1

    def write(self, run_dir: Path) -> None:
        """Writes it into the run's folder, whole or not at all."""
        beside = run_dir / f"{NAME}.part"
        beside.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        beside.replace(run_dir / NAME)


def is_run_id(name: str) -> bool:
    """Whether a folder's name is that of a run."""
    try:
        datetime.strptime(name, RUN_ID_FORMAT)
    except ValueError:
        return False
    return True


def read(run_dir: Path) -> RunRecord:
    """Reads the record of a run, `running` where it has none: it is about to begin, or was killed."""
    try:
        return RunRecord.model_validate_json((run_dir / NAME).read_bytes())
    except (OSError, ValueError):
        return RunRecord(run_id=run_dir.name)
