from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmarks import recipe
from trainer.recipe import FeatureCacheSettings, PhaseSettings, TrainingSettings

SMALL = TrainingSettings(
    weights="packaged",
    image_size=32,
    feature_cache=FeatureCacheSettings(views=2, dtype="float32"),
    frozen=PhaseSettings(epochs=1, learning_rate=1e-3),
    fine_tuning=PhaseSettings(epochs=1, learning_rate=1e-4),
)


def test_every_fold_has_its_share_of_both_classes() -> None:
    labels = np.array([0] * 20 + [1] * 10)

    fold = recipe.fold_of(labels, 5)

    for label, due in ((0, 4), (1, 2)):
        assert np.bincount(fold[labels == label]).tolist() == [due] * 5


def test_a_variant_is_the_default_recipe_with_other_settings() -> None:
    default = recipe.recipe_of("")

    found = recipe.recipe_of("dropout=0,fine_tuning.epochs=7")

    assert found.dropout == 0
    assert found.fine_tuning == default.fine_tuning.model_copy(update={"epochs": 7})
    assert found.frozen == default.frozen
    for variant in recipe.VARIANTS[1:]:
        assert recipe.recipe_of(variant) != default, variant


def test_an_outcome_counts_for_its_weights_code_and_pictures_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.weights.h5"
    file.write_bytes(b"1")
    settings = SMALL.model_copy(update={"weights": str(file)})
    found = recipe.Photographs([], np.array([]), "digest")
    first = recipe.key(settings, found, 5)

    assert recipe.key(settings, found, 5) == first
    assert recipe.key(settings, found, 4) != first
    assert recipe.key(settings, found._replace(digest="other"), 5) != first
    file.write_bytes(b"2")
    assert recipe.key(settings, found, 5) != first
    file.write_bytes(b"1")
    monkeypatch.setattr(recipe, "_CODE", "other")
    assert recipe.key(settings, found, 5) != first


def test_another_number_of_classes_is_refused(folder_of: Callable[[Mapping[str, int]], Path]) -> None:
    with pytest.raises(SystemExit, match="holds 3 folders, and one for each of two classes is expected"):
        recipe.photographs(folder_of({"cats": 1, "dogs": 1, "cows": 1}))


@pytest.mark.slow
def test_each_picture_is_judged_by_its_own_features(
    folder_of: Callable[[Mapping[str, int]], Path], tmp_path: Path
) -> None:
    # More than one batch of the pass, so that the views of a picture lie apart in the cache.
    found = recipe.photographs(folder_of({"cats": 40, "dogs": 40}))

    outcome = recipe.cross_validate(SMALL, found, 2, tmp_path)

    assert np.isfinite(outcome.probabilities).all()
    assert sum(outcome.kept.values()) == 2
    features, again = recipe._features(SMALL, found, tmp_path)
    assert np.isnan(again), "the features were there"
    swapped = found._replace(files=found.files[::-1], digest="reversed")
    reversed_features, _ = recipe._features(SMALL, swapped, tmp_path)
    for kind in features:
        np.testing.assert_allclose(features[kind], reversed_features[kind][:, ::-1], atol=1e-4)
        assert not np.allclose(features[kind][0], features[kind][1], atol=1e-3), "the second view is mirrored"
