import numpy as np
import pytest

from trainer.training_config import AugmentationConfig, TrainingConfig
from trainer.views import Views

PIXELS = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
RECIPE = TrainingConfig(image_size=32)
NOTHING_RANDOM = AugmentationConfig(rotation=0, zoom=0, contrast=0)


def test_the_first_view_is_the_picture_and_the_second_its_mirror_image() -> None:
    stored, mirrored = (view.numpy() for view in Views(RECIPE, 2).of(PIXELS))
    np.testing.assert_array_equal(stored, PIXELS)
    np.testing.assert_array_equal(mirrored, PIXELS[:, :, ::-1])
    assert stored.dtype == np.float32


def test_further_views_are_changed_and_differ() -> None:
    views = [view.numpy() for view in Views(RECIPE, 4).of(PIXELS)]
    assert len(views) == 4
    for one, other in ((0, 2), (1, 2), (0, 3), (2, 3)):
        assert np.abs(views[one] - views[other]).mean() > 1


def test_without_mirroring_the_second_view_is_changed_at_random() -> None:
    recipe = RECIPE.model_copy(update={"augmentation": AugmentationConfig(flip=False)})
    stored, changed = (view.numpy() for view in Views(recipe, 2).of(PIXELS))
    assert np.abs(changed - PIXELS[:, :, ::-1]).mean() > 1
    assert np.abs(changed - stored).mean() > 1


def test_without_any_change_every_further_view_is_the_picture_or_its_mirror_image() -> None:
    recipe = RECIPE.model_copy(update={"augmentation": NOTHING_RANDOM})
    for view in Views(recipe, 4).of(PIXELS):
        for picture, original in zip(view.numpy(), PIXELS, strict=True):
            assert any(np.array_equal(picture, known) for known in (original, original[:, ::-1]))


@pytest.mark.parametrize(("seed", "shard", "same"), [(0, 7, True), (0, 8, False), (1, 7, False)])
def test_random_views_follow_from_seed_and_shard(seed: int, shard: int, same: bool) -> None:
    views = Views(RECIPE, 3)
    views.of(PIXELS)
    views.reseed(7)
    before = views.of(PIXELS)[2].numpy()
    again = Views(RECIPE.model_copy(update={"seed": seed}), 3)
    again.reseed(shard)
    assert np.array_equal(again.of(PIXELS)[2], before) == same


def test_shards_do_not_repeat_each_other_s_changes() -> None:
    views = Views(RECIPE, 3)
    drawn = []
    for shard in range(3):
        views.reseed(shard)
        drawn += [views.of(PIXELS)[2].numpy() for _ in range(3)]
    for position, one in enumerate(drawn):
        assert not any(np.array_equal(one, other) for other in drawn[position + 1 :])
