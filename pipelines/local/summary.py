"""How a run ended: what is written to `summary.json` and shown at the end."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

REFUSED = 3  # exit status of a run that came to its end and was not pushed
INTERRUPTED = 130


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

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> Outcome:
        """Reads `dataclasses.asdict` back."""
        check, push = fields.get("check"), fields.get("push")
        read = {
            "check": Check(**check) if check else None,
            "push": Push(**push) if push else None,
            "intervals": {name: tuple(ends) for name, ends in fields.get("intervals", {}).items()},
        }
        return cls(**{**fields, **read})

    @property
    def exit_status(self) -> int:
        """0 blessed and pushed, or stopped before that on demand; 3 refused."""
        if self.blessed is False or (self.check and not self.check.passed):
            return REFUSED
        served = self.push is not None and not self.push.missing
        return 0 if served or not self.reached_pusher else REFUSED

    @property
    def state(self) -> str:
        """`done` or `refused`."""
        return "refused" if self.exit_status == REFUSED else "done"


@dataclasses.dataclass
class Step:
    """One component's part in a run."""

    state: str
    seconds: float | None = None


@dataclasses.dataclass
class Summary:
    """A run, as `summary.json` keeps it.

    Attributes:
        run_id: Name of the run and of its folder.
        state: `done`, `refused`, `failed` or `interrupted`.
        exit_status: What the command ended with.
        seconds: From the start of the command to its end.
        steps: The components in their order.
        outcome: What came out, where the run reached its end.
        message: What went wrong, otherwise.
    """

    run_id: str
    state: str
    exit_status: int
    seconds: float
    steps: dict[str, Step]
    outcome: Outcome | None = None
    message: str | None = None

    def write(self, run_dir: Path) -> None:
        """Writes `summary.json`, whole or not at all."""
        beside = run_dir / "summary.json.part"
        beside.write_text(json.dumps(dataclasses.asdict(self), indent=2) + "\n", encoding="utf-8")
        beside.rename(run_dir / "summary.json")
