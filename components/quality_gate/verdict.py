"""The verdict on a model, as stored in `verdict.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, TypeAdapter

from components.model_metrics import Comparison
from components.quality_gate.formatting import capitalize

VERDICT_FILE = "verdict.json"

TEST_IMAGES, BOTH_CLASSES, UNSEEN = "test images", "both classes", "unseen images"
PROBABILITIES, SERVING_CHECK = "probabilities", "serving check"

# Nobody can override these: if one fails, the metrics are invalid or the model cannot be served.
NOT_OVERRIDABLE = frozenset({TEST_IMAGES, BOTH_CLASSES, UNSEEN, PROBABILITIES, SERVING_CHECK})

State = Literal["passed", "failed", "not judged", "noted"]


def _current_name(name: str) -> str:
    """Returns the current name of a rule for a name from an earlier `verdict.json`."""
    return _OLD_NAMES.get(name) or _OLD_IMAGE_NAME.sub(r"\1 image\2", name)


_OLD_NAMES = {"answers": PROBABILITIES, "smallest visible loss": "smallest detectable loss"}
_OLD_IMAGE_NAME = re.compile(r"^(test|unseen|grey|flipped|darkened|recompressed|resized) picture(s?)$")
RuleName = Annotated[str, AfterValidator(_current_name)]


@dataclass(frozen=True)
class Rule:
    """One check of the model, with its measurement and limit.

    Attributes:
        name: A short name, such as `accuracy` or `newest model`.
        state: `failed` blocks the blessing; `noted` is information only.
        figure: The measured value; None if the rule measures nothing.
        bound: The limit for the value; None if there is none.
        words: The result in one or two sentences.
        reason: Why it failed, as part of a sentence; empty unless it failed.
    """

    name: RuleName
    state: State
    figure: float | None
    bound: float | None
    words: str
    reason: str = ""


def failed_rule(name: str, figure: float | None, bound: float | None, reason: str, more: str = ".") -> Rule:
    """Returns a failed rule whose `words` state its reason.

    Args:
        name: As in `Rule`.
        figure: As in `Rule`.
        bound: As in `Rule`.
        reason: As in `Rule`.
        more: Text after the reason: what to do, and the full stop.
    """
    return Rule(name, "failed", figure, bound, f"{capitalize(reason)}{more}", reason)


@dataclass(frozen=True)
class Override:
    """A person's decision to bless a model despite failed rules.

    Attributes:
        reason: Why the model is blessed.
        by: User name of the person.
        at: ISO 8601 time of the decision.
        model: URI of the model that the decision applies to; None for the model of the run.
        rules: Names of the failed rules that the person saw; only these can be overridden. None means all.
        applied: True if the override took effect.
        lifted: Names of the failed rules that it overrode.
    """

    reason: str
    by: str
    at: str
    model: str | None = None
    rules: tuple[RuleName, ...] | None = None
    applied: bool = False
    lifted: tuple[RuleName, ...] = ()


@dataclass(frozen=True)
class Verdict:
    """The decision about a model, with its reasons.

    Attributes:
        blessed: True if the model may be pushed.
        best: True if the model becomes the best model.
        sentence: The decision and its main reason in one sentence.
        rules: Results of all rules.
        override: The requested override, applied or not; None without a request.
        pictures: Number of test images.
        model_uri: URI of the judged model.
        comparisons: Comparisons with the baselines, by `newest` and `best`; only those that were made.
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
        """The failed rules, including overridden ones."""
        return [rule for rule in self.rules if rule.state == "failed"]

    def to_dict(self) -> dict[str, Any]:
        """Returns the content of `verdict.json`."""
        content = asdict(self)
        for name, comparison in self.comparisons.items():
            content["comparisons"][name]["worse"] = comparison.worse
        return content

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Verdict:
        """Builds a verdict from the content of a `verdict.json`, also of an earlier version."""
        return _STORED.validate_python(content)


_STORED = TypeAdapter(Verdict)


def write(folder: str, verdict: Verdict) -> None:
    """Writes `verdict.json` into a folder, local or remote."""
    from tfx.utils import io_utils  # slow to import, and commands that only show verdicts start without it

    text = json.dumps(verdict.to_dict(), indent=2, ensure_ascii=False)
    io_utils.write_string_file(f"{folder}/{VERDICT_FILE}", f"{text}\n")


def read(folder: str) -> Verdict | None:
    """Reads the verdict in the folder of a ModelBlessing; returns None if there is no file."""
    from tfx.dsl.io import fileio

    path = f"{folder}/{VERDICT_FILE}"
    if not fileio.exists(path):
        return None
    with fileio.open(path) as file:
        return Verdict.from_dict(json.loads(file.read()))
