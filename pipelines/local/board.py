"""Where a run stands, as far as its events have told."""

from __future__ import annotations

import dataclasses
import time

from pipelines.local.events import Ended, Event, Failed, Finished, Planned, Progress, Started, State
from pipelines.local.summary import Outcome, Step


@dataclasses.dataclass
class Line:
    """One step.

    Attributes:
        state: Where it stands.
        started: When it began, on the monotonic clock.
        seconds: How long it took.
        text: The last that it said about its progress.
    """

    state: State
    started: float | None = None
    seconds: float | None = None
    text: str = ""

    @property
    def elapsed(self) -> float | None:
        """Seconds so far, or in all; None where it has not begun."""
        if self.state is State.RUNNING and self.started is not None:
            return time.monotonic() - self.started
        return self.seconds


class Board:
    """The steps of a run in their order, and how the run ended.

    Attributes:
        lines: The steps; empty until the child has built the pipeline.
        running: The step at work.
        outcome: What came out, once the run has reached its end.
        failure: Why it cannot go on.
    """

    def __init__(self) -> None:
        self.lines: dict[str, Line] = {}
        self.running: str | None = None
        self.outcome: Outcome | None = None
        self.failure: Failed | None = None

    def apply(self, event: Event) -> None:
        """Takes in what the child says."""
        match event:
            case Planned(steps):
                self.lines = {step: Line(state) for step, state in steps.items()}
            case Started(step):
                self.lines[step] = Line(State.RUNNING, started=time.monotonic())
                self.running = step
            case Progress(text) if self.running:
                self.lines[self.running].text = text
            case Ended(step, state, seconds):
                self.lines[step] = Line(state, seconds=seconds, text=self.lines[step].text)
                self.running = None
            case Finished(outcome):
                self.outcome = outcome
            case Failed():
                self.failure = event

    def end(self, state: State) -> None:
        """Closes the step that was at work when the child went."""
        if self.running:
            line = self.lines[self.running]
            self.lines[self.running] = Line(state, seconds=line.elapsed, text=line.text)
            self.running = None

    def last(self, state: State) -> str | None:
        """Returns the last step in this state."""
        return next((step for step, line in reversed(self.lines.items()) if line.state is state), None)

    def position(self, step: str) -> int:
        """Returns a step's number, from 1."""
        return list(self.lines).index(step) + 1

    def steps(self) -> dict[str, Step]:
        """Returns the steps for the summary."""
        return {
            step: Step(line.state, None if line.seconds is None else round(line.seconds, 2))
            for step, line in self.lines.items()
        }
