"""The verdict: each rule in both directions, with its words, and what is made of them together."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from components.prediction_table.table import BaselineState, PredictionTable
from components.quality_gate.baselines import visible_loss
from components.quality_gate.judge import judge
from components.quality_gate.limits import Limits
from components.quality_gate.rules import by_chance, holm
from components.quality_gate.verdict import Override, Rule, Verdict
from tests.components.prediction_tables import table
from trainer import features

COUNT = 1000
LABELS = np.arange(COUNT) % 2
OVERRIDE = Override("the customer waits", "Ann", "2026-11-22T10:00:00Z")


def answers(wrong: slice | list[int] | None = None) -> np.ndarray:
    """Returns a calibrated model's answers, right but for these pictures."""
    right = np.ones(COUNT, bool)
    if wrong is not None:
        right[wrong] = False
    return np.where((LABELS == 1) == right, 0.98, 0.02)


def made(
    wrong: slice | None, newest: slice | None = None, best: slice | None = None, **changes: Any
) -> PredictionTable:
    baselines = {
        name: answers(each) for name, each in (("newest", newest), ("best", best)) if each is not None
    }
    return table(LABELS, answers(wrong), baselines, **changes)


def verdict(wrong: slice | None = slice(0, 20), *args: Any, **changes: Any) -> Verdict:
    return judge(made(wrong, *args, **changes), Limits())


def rule(found: Verdict, name: str) -> Rule:
    return next(each for each in found.rules if each.name == name)


def test_the_first_good_model_is_blessed_and_the_best() -> None:
    found = verdict()
    assert found.blessed
    assert found.best
    assert found.sentence == (
        "Blessed: it gets 98.0 % of 1,000 pictures right, and no other was blessed before, so that there was "
        "nothing to compare it with."
    )
    assert rule(found, "newest model").state == rule(found, "best model").state == "not judged"
    assert not found.failed


def test_an_empty_test_split_is_refused_whoever_wants_it() -> None:
    found = judge(table([], []), Limits(), override=OVERRIDE)
    assert found.sentence == "Refused: there is not one test picture to judge it on."
    assert found.override is not None
    assert not found.override.applied
    assert "nobody may set aside" in rule(found, "override").words


def test_one_class_is_refused() -> None:
    found = judge(table([1] * 50, [0.98] * 50), Limits(), override=OVERRIDE)
    assert found.sentence == "Refused: all test pictures are of one class (0 of cat and 50 of dog)."


def test_pictures_shared_with_training_are_refused_and_named() -> None:
    seen = np.zeros(COUNT, bool)
    seen[[3, 5, 8, 13]] = True
    found = judge(made(slice(0, 20), seen=seen), Limits(), override=OVERRIDE)
    assert found.sentence == (
        "Refused: 4 pictures of 1,000 in test are in training, too (0003.jpg, 0005.jpg, 0008.jpg and 1 more)."
    )
    assert rule(verdict(), "unseen pictures").state == "passed"


@pytest.mark.parametrize("value", [np.nan, 1.5])
def test_an_answer_that_is_no_probability_is_refused(value: float) -> None:
    probabilities = answers()
    probabilities[7] = value
    found = judge(table(LABELS, probabilities), Limits(), override=OVERRIDE)
    assert not found.blessed
    assert f"no probability (such as {value:g} for 0007.jpg)" in found.sentence
    assert all(each.name != "accuracy" for each in found.rules)


def test_the_floor_is_what_is_measured() -> None:
    assert verdict(slice(0, 100)).blessed
    found = verdict(slice(0, 101))
    assert found.sentence == (
        "Refused: it gets 89.9 % of 1,000 pictures right (87.9 to 91.6) where 90 % are asked."
    )
    assert (rule(found, "accuracy").figure, rule(found, "accuracy").bound) == (pytest.approx(0.899), 0.9)


def test_a_model_that_is_worse_than_the_newest_is_refused() -> None:
    found = verdict(slice(0, 52), slice(52, 64))
    assert not found.blessed
    assert found.sentence.startswith(
        "Refused: of 1,000 pictures it gets 52 wrong that the last blessed model gets right and 12 the other "
        "way round, a loss of 4.0 points (2.5 to 5.7) that chance does not explain"
    )
    assert rule(found, "newest model").figure == pytest.approx(-0.04)
    assert rule(found, "best model").state == "noted"
    assert found.comparisons["newest"].level == pytest.approx(0.0325)


def test_what_chance_explains_is_no_reason() -> None:
    found = verdict(slice(0, 30), slice(20, 42))
    assert found.sentence == (
        "Blessed: it gets 97.0 % of 1,000 pictures right, and chance explains that it is 0.8 points fewer "
        "than the last blessed model."
    )
    assert not found.best


def test_a_model_that_is_better_beyond_chance_is_the_best() -> None:
    found = verdict(slice(0, 10), slice(0, 40))
    assert found.sentence == (
        "Blessed: it gets 99.0 % of 1,000 pictures right, 3.0 points more than the last blessed model."
    )
    assert found.best
    assert not verdict(slice(0, 10), slice(0, 14)).best


def test_small_losses_do_not_add_up() -> None:
    """As good as the newest model, which has slipped below the best one."""
    found = verdict(slice(0, 60), slice(5, 61), slice(60, 80))
    assert rule(found, "newest model").state == "passed"
    assert rule(found, "best model").state == "failed"
    assert "that the best model so far gets right" in found.sentence


def test_two_baselines_share_the_level_by_hochberg() -> None:
    one = verdict(slice(0, 20), slice(20, 29))  # 20 against 9: p = 0.0206, between half and whole level
    assert not one.blessed
    two = verdict(slice(0, 20), slice(20, 29), slice(0, 20))
    assert two.blessed
    assert two.comparisons["newest"].level == pytest.approx(0.01625)
    both = verdict(slice(0, 20), slice(20, 29), slice(30, 39))
    assert [each.name for each in both.failed] == ["newest model", "best model"]


def test_a_tolerated_loss_is_tolerated() -> None:
    worse = made(slice(0, 52), slice(52, 64))
    tolerated = judge(worse, Limits(max_accuracy_loss=0.03))
    assert tolerated.sentence == (
        "Blessed: it gets 94.8 % of 1,000 pictures right, 4.0 points fewer than the last blessed model, of "
        "which 3.0 points are tolerated and chance explains the rest."
    )
    assert "A model that loses just that would come out so low" in rule(tolerated, "newest model").words
    within = judge(worse, Limits(max_accuracy_loss=0.045))
    assert within.sentence.endswith("model, which is within the 4.5 points that are tolerated.")
    assert "An equal model would" in rule(judge(worse, Limits()), "newest model").words
    small = judge(made(slice(0, 30), slice(20, 42)), Limits(max_accuracy_loss=0.01))
    assert "and chance explains that it is 0.8 points fewer" in small.sentence
    refused = judge(worse, Limits(max_accuracy_loss=0.01))
    assert "chance does not explain, where a loss of 1.0 point is tolerated" in refused.sentence


@pytest.mark.parametrize("name", ["newest", "best"])
def test_an_unreadable_baseline_is_never_no_baseline(name: str) -> None:
    made_with = made(slice(0, 20), slice(5, 25), slice(5, 25))
    gone = BaselineState("unreadable", 4, "/models/4", "its files are gone")
    made_with.baselines[name] = gone
    del made_with.baseline_probabilities[name]
    found = judge(made_with, Limits())
    assert not found.blessed
    assert "(/models/4) cannot be compared with, because its files are gone" in found.sentence
    ignored = judge(made_with, Limits(missing_baseline="ignore"))
    assert ignored.blessed
    assert rule(ignored, f"{name} model").state == "not judged"
    assert "as evaluation.missing_baseline is ignore." in rule(ignored, f"{name} model").words
    assert not ignored.best
    waits = (
        "Until its files are back, no other model becomes the best one."
        in rule(ignored, f"{name} model").words
    )
    assert waits == (name == "best")
    beside = {"newest": "as many as the best model so far, and the last blessed model cannot be read"}
    told = beside.get(name, "as many as the last blessed model")
    assert ignored.sentence == f"Blessed: it gets 98.0 % of 1,000 pictures right, {told}."


def test_slices_fail_beyond_chance_alone() -> None:
    bright = [("dark" if index < 100 else "bright") for index in range(COUNT)]
    slices = made(None).slices | {features.BRIGHTNESS_RANGE: bright}
    failed = verdict(slice(0, 45), slices=slices)
    assert failed.sentence == (
        "Refused: of 100 pictures with brightness dark it gets 55.0 % right, fewer than the 80 % that are "
        "asked and than chance explains."
    )
    explained = verdict(slice(0, 25), slices=slices)
    assert explained.blessed
    assert rule(explained, "slice brightness dark").words.endswith("80 % are asked; chance explains so few.")


def test_a_small_slice_is_not_judged() -> None:
    few = [("dark" if index < 29 else "bright") for index in range(COUNT)]
    found = verdict(slice(0, 29), slices=made(None).slices | {features.BRIGHTNESS_RANGE: few})
    assert found.blessed
    small = rule(found, "slice brightness dark")
    assert (small.state, small.figure) == ("not judged", 0)
    assert "too small to judge, which takes 30 pictures" in small.words


def test_holm_gives_the_likeliest_failures_the_least_level() -> None:
    assert holm([0.02, 0.2, 0.001], 0.05) == [True, False, True]
    assert holm([0.03, 0.2, 0.03], 0.05) == [False, False, False]
    assert by_chance(7, 10, 0.9) == pytest.approx(0.0702, abs=1e-4)


def test_probabilities_must_mean_what_they_say() -> None:
    sure = np.where(answers(slice(0, 90)) > 0.5, 0.7, 0.3)  # right 91 of 100 times, and says 70
    found = judge(table(LABELS, sure), Limits())
    assert "its probabilities are off by 21.0 points on average (" in found.sentence
    assert found.sentence.endswith("where 10 are allowed.")
    assert judge(table(LABELS, sure), Limits(max_calibration_error=None)).blessed
    few = judge(table(LABELS[:40], np.where(LABELS[:40] == 1, 0.88, 0.12)), Limits())
    assert rule(few, "calibration").words.endswith("chance explains the difference.")


def test_labels_must_be_kept() -> None:
    probabilities = answers(slice(0, 20))
    flipped = np.full(COUNT, np.nan)
    flipped[:200] = probabilities[:200]
    flipped[:15] = 1 - flipped[:15]
    changed = {"flipped": flipped}
    found = verdict(changed=changed)
    assert found.sentence == (
        "Refused: flipped, 185 of 200 pictures keep their label (92.5 %), fewer than the 97 % that are asked "
        "and than chance explains."
    )
    flipped[5:15] = probabilities[5:15]
    assert rule(verdict(changed=changed), "flipped pictures").state == "passed"
    assert rule(found, "grey picture").state == "noted"
    none = verdict(changed={"resized": np.full(COUNT, np.nan)})
    assert rule(none, "resized pictures").state == "not judged"


def test_an_answer_to_a_changed_picture_that_is_no_number_is_a_label_lost() -> None:
    probabilities = answers(slice(0, 20))
    flipped = np.full(COUNT, np.nan)
    flipped[20:200] = probabilities[20:200]
    found = verdict(changed={"flipped": flipped}, sampled=np.arange(COUNT) < 200)
    assert found.sentence.startswith("Refused: flipped, 180 of 200 pictures keep their label (90.0 %)")


def test_the_size_is_judged_where_a_limit_is_set() -> None:
    small = made(slice(0, 20))
    assert rule(judge(small, Limits(), model_bytes=12_000_000), "model size").state == "noted"
    assert judge(small, Limits(max_model_mb=12), model_bytes=12_000_000).blessed
    refused = judge(small, Limits(max_model_mb=11.5), model_bytes=12_000_000)
    assert refused.sentence == "Refused: the model's files take 12.0 MB where 11.5 MB are allowed."


def served(*problems: str) -> dict[str, Any]:
    return {
        "blessed": not problems,
        "problems": list(problems),
        "server": "the local server",
        "limits": {"max_latency_ms": 300},
        "protocols": {"REST": {"p95_ms": 41.25}, "gRPC": {"p95_ms": 20.0}},
    }


def test_the_serving_check_is_a_rule() -> None:
    good = judge(made(slice(0, 20)), Limits(), served())
    assert rule(good, "serving check") == Rule(
        "serving check",
        "passed",
        41.25,
        300,
        "The local server answers as the model was judged, 95 of 100 pictures within 41.25 ms over REST and "
        "20 ms over gRPC; 300 ms are allowed.",
    )
    slow = judge(made(slice(0, 20)), Limits(), served("it is too slow"), override=OVERRIDE)
    assert slow.sentence == "Refused: it must not be served: it is too slow."
    assert not slow.best
    silent = judge(made(slice(0, 20)), Limits(), {"blessed": False})
    assert "the serving check left no report" in silent.sentence


def test_the_plainest_failure_is_told_first_and_the_others_named() -> None:
    found = verdict(slice(0, 150), slice(200, 210))
    assert found.sentence.startswith("Refused: it gets 85.0 % of 1,000 pictures right")
    assert found.sentence.endswith("; newest model, calibration failed, too.")


def test_a_person_may_bless_against_the_rules() -> None:
    found = judge(made(slice(0, 150), slice(200, 210)), Limits(), override=OVERRIDE)
    assert found.blessed
    assert not found.best
    assert found.override is not None
    assert found.override.applied
    assert found.override.lifted[:2] == ("accuracy", "newest model")
    assert found.sentence.startswith(
        "Blessed by Ann (“the customer waits”) against the rules: it gets 85.0 % of 1,000 pictures right"
    )


def test_another_model_s_override_does_not_count() -> None:
    bad = made(slice(0, 150))
    other = judge(bad, Limits(), override=replace(OVERRIDE, model="/models/8"))
    assert not other.blessed
    assert "for another model (/models/8)" in rule(other, "override").words
    assert judge(bad, Limits(), override=replace(OVERRIDE, model=bad.model_uri)).blessed


def test_an_override_lifts_what_the_person_saw_and_nothing_else() -> None:
    bad = made(slice(0, 150), slice(200, 210))
    every = tuple(each.name for each in judge(bad, Limits()).failed)
    assert every == ("accuracy", "newest model", "calibration")
    seen = judge(bad, Limits(), override=replace(OVERRIDE, rules=every))
    assert seen.override is not None
    assert seen.override.lifted == every
    refused = judge(bad, Limits(), override=replace(OVERRIDE, rules=("accuracy",)))
    assert not refused.blessed
    assert rule(refused, "override").words.endswith("as since then newest model, calibration failed, too.")
    assert Verdict.from_dict(json.loads(json.dumps(refused.to_dict()))) == refused


def test_an_override_of_nothing_changes_nothing() -> None:
    found = judge(made(slice(0, 20)), Limits(), override=OVERRIDE)
    assert found.best
    assert found.sentence.startswith("Blessed: ")
    assert rule(found, "override").words.endswith("and there was nothing to set aside.")


def test_it_is_said_how_small_a_loss_would_show() -> None:
    found = rule(verdict(slice(0, 40), slice(30, 50)), "smallest visible loss")
    assert (
        found.words
        == "These 1,000 pictures would show a loss of 2.0 points or more with a probability of 90 %."
    )
    assert all(each.name != "smallest visible loss" for each in verdict().rules)


def test_the_smallest_visible_loss_is_found_as_often_as_it_says() -> None:
    from components.figures.paired import p_value

    total, gained, level = 1000, 0.01, 0.0325
    loss = visible_loss(total, gained, 0.0, level, 0.1)
    assert loss is not None
    drawn = np.random.default_rng(0).multinomial(
        total, [gained, gained + loss, 1 - 2 * gained - loss], size=2000
    )
    found = np.mean([p_value(int(won), int(lost), total) < level for won, lost, _ in drawn])
    assert found == pytest.approx(0.9, abs=0.025)
    assert visible_loss(10, 0.1, 0.0, 0.0175, 0.001) is None


@pytest.mark.parametrize("total", [10, 100, 1000])
@pytest.mark.parametrize("usual", [0, 1, 2])
def test_where_the_candidate_alone_gets_none_right_the_loss_is_still_found(total: int, usual: int) -> None:
    """Enumerated exactly, for none and for one or two that the candidate alone usually gets right."""
    from scipy import stats

    from components.figures.paired import p_value

    loss = visible_loss(total, 0.0, 0.0, 0.0325, 0.1)
    assert loss is not None
    assert 0 < loss < 1
    if loss + 2 * usual / total > 1:
        return
    found = 0.0
    for gained in range(min(total, 15) + 1):
        lost = np.arange(min(total - gained, 60) + 1)
        shares = [usual / total, usual / total + loss]
        chance = stats.multinomial.pmf(
            [[gained, each, total - gained - each] for each in lost], total, [*shares, 1 - sum(shares)]
        )
        found += float(chance @ [p_value(gained, int(each), total) < 0.0325 for each in lost])
    assert found > 0.89


def test_a_verdict_comes_back_from_json_as_it_was() -> None:
    found = judge(made(slice(0, 150), slice(200, 210)), Limits(), served(), 5, OVERRIDE)
    assert Verdict.from_dict(json.loads(json.dumps(found.to_dict(), allow_nan=False))) == found
    plain = verdict()
    assert Verdict.from_dict(json.loads(json.dumps(plain.to_dict(), allow_nan=False))) == plain
