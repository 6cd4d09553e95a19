"""The verdict on a model, as data and in words: `verdict.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

from components.model_metrics import Comparison
from components.quality_gate.formatting import sentence

VERDICT_FILE = "verdict.json"

TEST_PICTURES, BOTH_CLASSES, UNSEEN = "test pictures", "both classes", "unseen pictures"
ANSWERS, SERVING_CHECK = "answers", "serving check"

# What no person may set aside: where one fails, nothing that holds was measured, or it cannot be served.
NEVER_LIFTED = frozenset({TEST_PICTURES, BOTH_CLASSES, UNSEEN, ANSWERS, SERVING_CHECK})

State = Literal["passed", "failed", "not judged", "noted"]


@dataclass(frozen=True)
class Rule:
    """One thing that was looked at.

    Attributes:
        name: What, in a word or two, such as `accuracy` or `newest model`.
        state: `failed` keeps a model from being blessed; `noted` is said for those who read it.
        figure: What was measured; None where that is no number.
        bound: What it had to keep to; None where there is none.
        words: All of it in a sentence or two.
        reason: Why it failed, as part of a sentence; empty where it did not.
    """

    name: str
    state: State
    figure: float | None
    bound: float | None
    words: str
    reason: str = ""


def failed(name: str, figure: float | None, bound: float | None, reason: str, more: str = ".") -> Rule:
    """Returns a failed rule, whose words are its reason as a sentence.

    Args:
        name: As in `Rule`.
        figure: As in `Rule`.
        bound: As in `Rule`.
        reason: As in `Rule`.
        more: What follows the reason in the words: the cure, and the full stop.
    """
    return Rule(name, "failed", figure, bound, f"{sentence(reason)}{more}", reason)


@dataclass(frozen=True)
class Override:
    """A person's decision to bless a model that the rules refuse.

    Attributes:
        reason: Why.
        by: Who.
        at: When, an ISO time.
        model: URI of the model it is meant for; None for the one of the run.
        rules: Names of the failed rules that the person saw, and no others are lifted; None lifts all.
        applied: Whether it was for this model, and had something to lift that may be lifted.
        lifted: Names of the failed rules that it set aside.
    """

    reason: str
    by: str
    at: str
    model: str | None = None
    rules: tuple[str, ...] | None = None
    applied: bool = False
    lifted: tuple[str, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """What was decided about a model, and why.

    Attributes:
        blessed: Whether it may be pushed.
        best: Whether it is the best one from now on.
        sentence: Why, in one sentence.
        rules: All that was looked at.
        override: The one that was given, applied or not; None where there was none.
        pictures: Number of test pictures.
        model_uri: Of the model that was judged.
        comparisons: With `newest` and `best`, as far as there were any.
        baselines: State of each baseline: `compared`, `none`, `unreadable` or `same`.
    """

    blessed: bool
    best: bool
    sentence: str
    rules: list[Rule]
    override: Override | None
    pictures: int
    model_uri: str = ""
    comparisons: dict[str, Comparison] = field(default_factory=dict)
    baselines: dict[str, str] = field(default_factory=dict)

    @property
    def failed(self) -> list[Rule]:
        """The rules that the model failed, those that were lifted included."""
        return [rule for rule in self.rules if rule.state == "failed"]

    def to_dict(self) -> dict[str, Any]:
        """Returns what `verdict.json` holds."""
        content = asdict(self)
        for name, comparison in self.comparisons.items():
            content["comparisons"][name]["worse"] = comparison.worse
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Verdict:
        """Returns the verdict that `to_dict` gave."""
        return _STORED.validate_python(content)


_STORED = TypeAdapter(Verdict)


def write(folder: str, verdict: Verdict) -> None:
    """Writes `verdict.json` into a folder, local or remote."""
    from tfx.utils import io_utils  # not above: what only shows verdicts must start quickly

    text = json.dumps(verdict.to_dict(), indent=2, ensure_ascii=False)
    io_utils.write_string_file(f"{folder}/{VERDICT_FILE}", f"{text}\n")


def read(folder: str) -> Verdict | None:
    """Returns the verdict in the folder of a ModelBlessing; None where there is none."""
    from tfx.dsl.io import fileio

    path = f"{folder}/{VERDICT_FILE}"
    if not fileio.exists(path):
        return None
    with fileio.open(path) as file:
        return Verdict.from_dict(json.loads(file.read()))
