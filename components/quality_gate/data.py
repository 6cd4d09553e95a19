"""Whether the test pictures are fit to judge a model on."""

from __future__ import annotations

import numpy as np

from components.prediction_table.table import PredictionTable
from components.quality_gate.verdict import ANSWERS, BOTH_CLASSES, TEST_PICTURES, UNSEEN, Rule
from components.quality_gate.wording import listed, pictures


def usable(table: PredictionTable) -> bool:
    """Returns whether there are pictures, and a probability for each."""
    return len(table.labels) > 0 and bool(_is_probability(table).all())


def rules(table: PredictionTable) -> list[Rule]:
    """Returns what is said of the test pictures; nothing else can be judged where they or answers lack."""
    total = len(table.labels)
    if not total:
        reason = "there is not one test picture to judge it on"
        words = "There is not one test picture: give test a share in data.split, or pictures of its own."
        return [Rule(TEST_PICTURES, "failed", 0, 1, words, reason)]
    return [
        Rule(TEST_PICTURES, "passed", total, 1, f"It is judged on {pictures(total)} of the split test."),
        _both_classes(table),
        _unseen(table),
        _answers(table),
    ]


def _both_classes(table: PredictionTable) -> Rule:
    counts = np.bincount(table.labels, minlength=2)
    told = " and ".join(f"{count:,} of {name}" for count, name in zip(counts, table.class_names, strict=True))
    if counts.all():
        return Rule(BOTH_CLASSES, "passed", int(counts.min()), 1, f"There are {told}.")
    reason = f"all test pictures are of one class ({told})"
    words = f"All test pictures are of one class ({told}): put pictures of both into test."
    return Rule(BOTH_CLASSES, "failed", 0, 1, words, reason)


def _unseen(table: PredictionTable) -> Rule:
    shared = int(table.seen.sum())
    if not shared:
        return Rule(UNSEEN, "passed", 0, 0, "None of the test pictures was in training.")
    names = [table.filenames[index] for index in np.flatnonzero(table.seen)]
    are = "is" if shared == 1 else "are"
    reason = f"{pictures(shared)} of {len(table.labels):,} in test {are} in training, too ({listed(names)})"
    words = f"{reason[0].upper()}{reason[1:]}: remove them from test or from the other splits."
    return Rule(UNSEEN, "failed", shared, 0, words, reason)


def _answers(table: PredictionTable) -> Rule:
    usable = _is_probability(table)
    bad = int((~usable).sum())
    if not bad:
        return Rule(ANSWERS, "passed", 0, 0, "Every answer is a probability.")
    names = [table.filenames[index] for index in np.flatnonzero(~usable)]
    value = table.probabilities[np.flatnonzero(~usable)[0]]
    reason = f"its answer for {pictures(bad)} is no probability (such as {value:g} for {listed(names, 1)})"
    words = f"{reason[0].upper()}{reason[1:]}: look at the learning curves, the training may have diverged."
    return Rule(ANSWERS, "failed", bad, 0, words, reason)


def _is_probability(table: PredictionTable) -> np.ndarray:
    return (table.probabilities >= 0) & (table.probabilities <= 1)  # false for what is no number
