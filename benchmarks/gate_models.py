"""Models that are drawn by chance, for the gate to judge: what they say of images, without any image.

Some test images are hard: each model classifies them correctly or not by its own independent chance. All
models are correct on the others. Two models with the same chances are equal but differ in their errors.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np

from components.prediction_table import columns
from components.prediction_table.table import BaselineState, Predictions
from components.quality_gate.judge import judge
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import Verdict
from trainer import features

_CLASS_NAMES = ("cat", "dog")
_SURE = 0.97  # confidence of every model, which makes a good one about calibrated
_CHANGED = 200
_KEEPS = 0.99  # the share of changed images that keep their label in truth

Past = Literal["the same", "two", "only the newest", "only the best", "ten"]


@dataclass(frozen=True)
class Case:
    """Models to draw, and what came before the one that is judged.

    Attributes:
        hard: Share of hard images.
        wrong: How often the candidate is wrong about a hard image.
        wrong_before: Likewise the models before it.
        past: The newest blessed model is the best one as well (`the same`); they are two models (`two`); of
            the two, only one is as good as `wrong_before` says, the other as the candidate; or there were
            ten models, each judged by the gate on these images when it came (`ten`).
    """

    hard: float
    wrong: float
    wrong_before: float
    past: Past

    @property
    def loss(self) -> float:
        """How much lower the candidate's accuracy is in truth."""
        return self.hard * (self.wrong - self.wrong_before)

    @property
    def only_candidate_right(self) -> float:
        """Share of images that the candidate classifies correctly and an earlier model does not."""
        return self.hard * (1 - self.wrong) * self.wrong_before


def refused(case: Case, images: int, random: np.random.Generator, limits: GateLimits) -> bool:
    """Draws the models and the images, and returns whether the gate refuses the candidate."""
    hard = int(random.binomial(images, case.hard))

    def model(wrong: float) -> np.ndarray:
        errors = np.zeros(images, bool)
        errors[:hard] = random.random(hard) < wrong
        return _probabilities(errors)

    blessed = {"newest": model(case.wrong_before)}
    if case.past == "two":
        blessed["best"] = model(case.wrong_before)
    elif case.past == "only the newest":
        blessed["best"] = model(case.wrong)
    elif case.past == "only the best":
        blessed = {"newest": model(case.wrong), "best": blessed["newest"]}
    elif case.past == "ten":
        blessed["best"] = blessed["newest"]
        for _ in range(9):
            candidate = model(case.wrong_before)
            verdict = _judged(candidate, blessed, random, limits)
            if verdict.blessed:
                blessed["newest"] = candidate
            if verdict.best:
                blessed["best"] = candidate
    return not _judged(model(case.wrong), blessed, random, limits).blessed


def _judged(
    candidate: np.ndarray, blessed: dict[str, np.ndarray], random: np.random.Generator, limits: GateLimits
) -> Verdict:
    newest = blessed["newest"]
    best = blessed.get("best", newest)
    changed = {}
    for name in columns.PERTURBATIONS:
        changed[name] = np.full(len(candidate), np.nan)
        perturbed = candidate[-_CHANGED:]  # the easy ones, as few are hard
        changed[name][-_CHANGED:] = np.where(random.random(len(perturbed)) < _KEEPS, perturbed, 1 - perturbed)
    table = replace(
        _pictures(len(candidate)),
        probabilities=candidate,
        baselines={
            "newest": BaselineState("compared"),
            "best": BaselineState("same" if best is newest else "compared"),
        },
        baseline_probabilities={"newest": newest, "best": best},
        changed=changed,
        sampled=~np.isnan(changed[columns.PERTURBATIONS[0]]),
    )
    return judge(table, limits)


def _probabilities(errors: np.ndarray) -> np.ndarray:
    labels = _pictures(len(errors)).labels
    return np.where((labels == 1) != errors, _SURE, 1 - _SURE)


@cache
def _pictures(count: int) -> Predictions:
    """Returns a table of so many images, which models are put into."""
    numbers = np.arange(count)
    labels = numbers % 2
    nothing: dict[str, np.ndarray] = {}
    return Predictions(
        class_names=_CLASS_NAMES,
        filenames=[f"{number}.jpg" for number in numbers],
        digests=[""] * count,
        labels=labels,
        probabilities=np.empty(0),
        slices={
            features.CLASS_NAME: [_CLASS_NAMES[label] for label in labels],
            features.BRIGHTNESS_RANGE: [("dark", *["bright"] * 9)[number // 2 % 10] for number in numbers],
        },
        seen=np.zeros(count, bool),
        baselines={},
        baseline_probabilities=nothing,
        changed=nothing,
        sampled=np.zeros(count, bool),
        grey=0.5,
        model_id=1,
        model_uri="",
    )
