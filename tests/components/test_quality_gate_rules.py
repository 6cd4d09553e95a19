"""The verdict: each rule in both directions, with its words, and what is made of them together."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.prediction_table.table import BaselineState, Predictions
from components.quality_gate.baseline_rules import detectable_loss
from components.quality_gate.judge import judge
from components.quality_gate.limits import GateLimits
from components.quality_gate.verdict import Override, Rule, Verdict
from tests.components.prediction_tables import table
from trainer import features

COUNT = 1000
LABELS = np.arange(COUNT) % 2
OVERRIDE = Override("the customer waits", "Ann", "2026-11-22T10:00:00Z")


def predicted(wrong: slice | list[int] | None = None) -> np.ndarray:
    """Returns the predictions of a calibrated model that misclassifies only these images."""
    right = np.ones(COUNT, bool)
    if wrong is not None:
        right[wrong] = False
    return np.where((LABELS == 1) == right, 0.98, 0.02)


def made(
    wrong: slice | None, newest: slice | None = None, best: slice | None = None, **changes: Any
) -> Predictions:
    baselines = {
        name: predicted(each) for name, each in (("newest", newest), ("best", best)) if each is not None
    }
    return table(LABELS, predicted(wrong), baselines, **changes)


def verdict(wrong: slice | None = slice(0, 20), *args: Any, **changes: Any) -> Verdict:
    return judge(made(wrong, *args, **changes), GateLimits())


def rule(found: Verdict, name: str) -> Rule:
    return next(each for each in found.rules if each.name == name)


def failed(found: Verdict) -> list[str]:
    return [each.name for each in found.failed]


def test_the_first_good_model_is_blessed_and_the_best() -> None:
    found = verdict()
    assert found.blessed
    assert found.best
    assert "98.0 %" in found.sentence
    assert rule(found, "newest model").state == rule(found, "best model").state == "not judged"
    assert not found.failed


def seen_in_training() -> np.ndarray:
    seen = np.zeros(COUNT, bool)
    seen[[3, 5, 8, 13]] = True
    return seen


def with_answer(value: float) -> Predictions:
    probabilities = predicted()
    probabilities[7] = value
    return table(LABELS, probabilities)


@pytest.mark.parametrize(
    ("unfit", "name", "named"),
    [
        (table([], []), "test images", []),
        (table([1] * 50, [0.98] * 50), "both classes", ["0 cat", "50 dog"]),
        (
            made(slice(0, 20), seen=seen_in_training()),
            "unseen images",
            ["4", "0003.jpg", "0008.jpg", "1 more"],
        ),
        (with_answer(np.nan), "probabilities", ["nan", "0007.jpg"]),
        (with_answer(1.5), "probabilities", ["1.5", "0007.jpg"]),
    ],
)
def test_invalid_test_data_is_refused_despite_an_override(
    unfit: Predictions, name: str, named: list[str]
) -> None:
    found = judge(unfit, GateLimits(), override=OVERRIDE)
    assert not found.blessed
    assert failed(found)[0] == name
    assert found.override is not None
    assert not found.override.applied
    assert all(value in found.sentence for value in named)
    judged = any(each.name == "accuracy" for each in found.rules)
    assert judged == (name in ("both classes", "unseen images"))
    assert rule(verdict(), name).state == "passed"


def test_the_floor_is_what_is_measured() -> None:
    assert verdict(slice(0, 100)).blessed
    found = verdict(slice(0, 101))
    assert failed(found) == ["accuracy"]
    assert (rule(found, "accuracy").figure, rule(found, "accuracy").bound) == (pytest.approx(0.899), 0.9)
    for value in ("89.9 %", "87.9 to 91.6", "90 %"):
        assert value in found.sentence


def test_a_model_that_is_worse_than_the_newest_is_refused() -> None:
    found = verdict(slice(0, 52), slice(52, 64))
    assert failed(found) == ["newest model"]
    for value in ("52", "12", "4.0 points", "2.5 to 5.7"):
        assert value in found.sentence
    assert rule(found, "newest model").figure == pytest.approx(-0.04)
    assert rule(found, "best model").state == "noted"
    assert found.comparisons["newest"].level == pytest.approx(0.0325)


def test_a_loss_that_chance_explains_is_accepted() -> None:
    found = verdict(slice(0, 30), slice(20, 42))
    assert found.blessed
    assert "0.8 points less" in found.sentence
    assert not found.best


def test_a_model_that_is_better_beyond_chance_is_the_best() -> None:
    found = verdict(slice(0, 10), slice(0, 40))
    assert "3.0 points more" in found.sentence
    assert found.best
    assert not verdict(slice(0, 10), slice(0, 14)).best


def test_small_losses_do_not_add_up() -> None:
    """As good as the newest model, which has slipped below the best one."""
    found = verdict(slice(0, 60), slice(5, 61), slice(60, 80))
    assert rule(found, "newest model").state == "passed"
    assert failed(found) == ["best model"]


def test_two_baselines_share_the_level_by_hochberg() -> None:
    one = verdict(slice(0, 20), slice(20, 29))  # 20 against 9: p = 0.0206, between half and whole level
    assert not one.blessed
    two = verdict(slice(0, 20), slice(20, 29), slice(0, 20))
    assert two.blessed
    assert two.comparisons["newest"].level == pytest.approx(0.01625)
    both = verdict(slice(0, 20), slice(20, 29), slice(30, 39))
    assert failed(both) == ["newest model", "best model"]


@pytest.mark.parametrize(
    ("loss", "blessed", "named"),
    [
        (0.0, False, ["4.0 points"]),
        (0.01, False, ["4.0 points", "1.0 point"]),
        (0.03, True, ["94.8 %", "4.0 points", "3.0 points"]),
        (0.045, True, ["4.0 points", "4.5 points"]),
    ],
)
def test_a_tolerated_loss_is_tolerated(loss: float, blessed: bool, named: list[str]) -> None:
    found = judge(made(slice(0, 52), slice(52, 64)), GateLimits(max_accuracy_loss=loss))
    assert found.blessed == blessed
    assert rule(found, "newest model").bound == -loss
    assert all(value in found.sentence for value in named)


@pytest.mark.parametrize("name", ["newest", "best"])
def test_an_unreadable_baseline_is_never_no_baseline(name: str) -> None:
    made_with = made(slice(0, 20), slice(5, 25), slice(5, 25))
    gone = BaselineState("unreadable", 4, "/models/4", "its files are gone")
    made_with.baselines[name] = gone
    del made_with.baseline_probabilities[name]
    found = judge(made_with, GateLimits())
    assert failed(found) == [f"{name} model"]
    assert "/models/4" in found.sentence
    assert "its files are gone" in found.sentence
    ignored = judge(made_with, GateLimits(missing_baseline="ignore"))
    assert ignored.blessed
    assert rule(ignored, f"{name} model").state == "not judged"
    assert "evaluation.missing_baseline" in rule(ignored, f"{name} model").words
    assert not ignored.best


def of_brightness(dark: int) -> dict[str, list[str]]:
    """The slices of images of which the first ones are dark."""
    values = [("dark" if index < dark else "bright") for index in range(COUNT)]
    return made(None).slices | {features.BRIGHTNESS_RANGE: values}


@pytest.mark.parametrize(
    ("dark", "wrong", "state", "share"),
    [(100, 45, "failed", 0.55), (100, 25, "passed", 0.75), (29, 29, "not judged", 0)],
)
def test_slices_fail_beyond_chance_alone(dark: int, wrong: int, state: str, share: float) -> None:
    found = verdict(slice(0, wrong), slices=of_brightness(dark))
    judged = rule(found, "slice brightness dark")
    assert (judged.state, judged.figure, judged.bound) == (state, pytest.approx(share), 0.8)
    assert found.blessed == (state != "failed")
    if not found.blessed:
        assert failed(found) == ["slice brightness dark"]
        assert all(value in found.sentence for value in ("100", "55.0 %", "80 %"))


def test_probabilities_must_mean_what_they_say() -> None:
    sure = np.where(predicted(slice(0, 90)) > 0.5, 0.7, 0.3)  # right 91 of 100 times, and says 70
    found = judge(table(LABELS, sure), GateLimits())
    assert failed(found) == ["calibration"]
    assert "21.0 %" in found.sentence
    assert judge(table(LABELS, sure), GateLimits(max_calibration_error=None)).blessed
    few = rule(judge(table(LABELS[:40], np.where(LABELS[:40] == 1, 0.88, 0.12)), GateLimits()), "calibration")
    assert few.state == "passed"  # by chance
    assert (few.figure or 0) > (few.bound or 0)


def test_perturbed_images_must_keep_their_label() -> None:
    probabilities = predicted(slice(0, 20))
    flipped = np.full(COUNT, np.nan)
    flipped[:200] = probabilities[:200]
    flipped[:15] = 1 - flipped[:15]
    changed = {"flipped": flipped}
    found = verdict(changed=changed)
    assert failed(found) == ["flipped images"]
    assert rule(found, "flipped images").figure == 185 / 200
    flipped[5:15] = probabilities[5:15]
    assert rule(verdict(changed=changed), "flipped images").state == "passed"
    assert rule(found, "grey image").state == "noted"
    none = verdict(changed={"resized": np.full(COUNT, np.nan)})
    assert rule(none, "resized images").state == "not judged"


def test_nan_for_a_perturbed_image_counts_as_a_changed_label() -> None:
    probabilities = predicted(slice(0, 20))
    flipped = np.full(COUNT, np.nan)
    flipped[20:200] = probabilities[20:200]
    found = verdict(changed={"flipped": flipped}, sampled=np.arange(COUNT) < 200)
    assert failed(found) == ["flipped images"]
    assert rule(found, "flipped images").figure == 180 / 200


@pytest.mark.parametrize(("most", "state"), [(None, "noted"), (12, "passed"), (11.5, "failed")])
def test_the_size_is_judged_where_a_limit_is_set(most: float | None, state: str) -> None:
    found = judge(made(slice(0, 20)), GateLimits(max_model_mb=most), model_bytes=12_000_000)
    judged = rule(found, "model size")
    assert (judged.state, judged.figure, judged.bound) == (state, 12.0, most)
    assert found.blessed == (state != "failed")


def served(*problems: str) -> dict[str, Any]:
    return {
        "blessed": not problems,
        "problems": list(problems),
        "server": "the local server",
        "limits": {"max_latency_ms": 300},
        "protocols": {"REST": {"p95_ms": 41.25}, "gRPC": {"p95_ms": 20.0}},
    }


def test_the_serving_check_is_a_rule() -> None:
    good = rule(judge(made(slice(0, 20)), GateLimits(), served()), "serving check")
    assert (good.state, good.figure, good.bound) == ("passed", 41.25, 300)
    slow = judge(made(slice(0, 20)), GateLimits(), served("it is too slow", "it is odd"), override=OVERRIDE)
    assert failed(slow) == ["serving check"]
    assert "it is too slow" in slow.sentence
    assert "it is odd" in rule(slow, "serving check").words
    assert not slow.best
    assert failed(judge(made(slice(0, 20)), GateLimits(), {"blessed": False})) == ["serving check"]


def test_the_plainest_failure_is_told_first_and_the_others_named() -> None:
    found = verdict(slice(0, 150), slice(200, 210))
    assert found.sentence.index("85.0 %") < found.sentence.index("newest model, calibration")


def test_a_person_may_bless_against_the_rules() -> None:
    found = judge(made(slice(0, 150), slice(200, 210)), GateLimits(), override=OVERRIDE)
    assert found.blessed
    assert not found.best
    assert found.override is not None
    assert found.override.applied
    assert found.override.lifted[:2] == ("accuracy", "newest model")
    assert all(value in found.sentence for value in ("Ann", "the customer waits", "85.0 %"))


def test_another_model_s_override_does_not_count() -> None:
    bad = made(slice(0, 150))
    other = judge(bad, GateLimits(), override=replace(OVERRIDE, model="/models/8"))
    assert not other.blessed
    assert "/models/8" in rule(other, "override").words
    assert judge(bad, GateLimits(), override=replace(OVERRIDE, model=bad.model_uri)).blessed


def test_an_override_lifts_what_the_person_saw_and_nothing_else() -> None:
    bad = made(slice(0, 150), slice(200, 210))
    every = tuple(each.name for each in judge(bad, GateLimits()).failed)
    assert every == ("accuracy", "newest model", "calibration")
    seen = judge(bad, GateLimits(), override=replace(OVERRIDE, rules=every))
    assert seen.override is not None
    assert seen.override.lifted == every
    refused = judge(bad, GateLimits(), override=replace(OVERRIDE, rules=("accuracy",)))
    assert not refused.blessed
    assert "newest model, calibration" in rule(refused, "override").words
    assert Verdict.from_dict(json.loads(json.dumps(refused.to_dict()))) == refused


def test_an_override_of_nothing_changes_nothing() -> None:
    found = judge(made(slice(0, 20)), GateLimits(), override=OVERRIDE)
    assert found.best
    assert found.override is not None
    assert (found.override.applied, found.override.lifted) == (False, ())


def test_the_smallest_detectable_loss_is_noted() -> None:
    found = rule(verdict(slice(0, 40), slice(30, 50)), "smallest detectable loss")
    assert found.figure == pytest.approx(0.02, abs=0.0005)
    assert "2.0 points" in found.words
    assert all(each.name != "smallest detectable loss" for each in verdict().rules)


def test_the_smallest_visible_loss_is_found_as_often_as_it_says() -> None:
    from components.model_metrics.paired_test import p_value

    total, gained, level = 1000, 0.01, 0.0325
    loss = detectable_loss(total, gained, 0.0, level, 0.1)
    assert loss is not None
    drawn = np.random.default_rng(0).multinomial(
        total, [gained, gained + loss, 1 - 2 * gained - loss], size=2000
    )
    found = np.mean([p_value(int(won), int(lost), total) < level for won, lost, _ in drawn])
    assert found == pytest.approx(0.9, abs=0.025)
    assert detectable_loss(10, 0.1, 0.0, 0.0175, 0.001) is None


def test_a_verdict_comes_back_from_json_as_it_was() -> None:
    found = judge(made(slice(0, 150), slice(200, 210)), GateLimits(), served(), 5, OVERRIDE)
    assert Verdict.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    plain = verdict()
    assert Verdict.from_dict(json.loads(json.dumps(plain.to_dict(), allow_nan=False))) == plain


def test_rule_names_of_an_earlier_verdict_are_read_as_the_current_ones() -> None:
    stored = verdict().to_dict()
    stored["rules"] = [
        {**stored["rules"][0], "name": name} for name in ("test images", "answers", "flipped images")
    ]
    stored["override"] = {"reason": "r", "by": "b", "at": "t", "rules": ["unseen images", "accuracy"]}
    found = Verdict.from_dict(stored)
    assert [each.name for each in found.rules] == ["test images", "probabilities", "flipped images"]
    assert found.override is not None
    assert found.override.rules == ("unseen images", "accuracy")
