import numpy as np
import pytest

from trainer.augmentation import AugmentedViews
from trainer.training_config import AugmentationConfig, TrainingConfig

PIXELS = np.random.default_rng(0).integers(0, 255, (3, 16, 16, 3), np.uint8)
CONFIG = TrainingConfig(image_size=32)
NO_RANDOM_CHANGES = AugmentationConfig(rotation=0, zoom=0, contrast=0)


def test_the_first_view_is_the_stored_image_and_the_second_its_mirror_image() -> None:
    stored, mirrored = (view.numpy() for view in AugmentedViews(CONFIG, 2).make(PIXELS))
    np.testing.assert_array_equal(stored, PIXELS)
    np.testing.assert_array_equal(mirrored, PIXELS[:, :, ::-1])
    assert stored.dtype == np.float32


def test_further_views_are_augmented_and_differ() -> None:
    views = [view.numpy() for view in AugmentedViews(CONFIG, 4).make(PIXELS)]
    assert len(views) == 4
    for one, other in ((0, 2), (1, 2), (0, 3), (2, 3)):
        assert np.abs(views[one] - views[other]).mean() > 1


def test_without_flip_the_second_view_is_augmented_at_random() -> None:
    config = CONFIG.model_copy(update={"augmentation": AugmentationConfig(flip=False)})
    stored, changed = (view.numpy() for view in AugmentedViews(config, 2).make(PIXELS))
    assert np.abs(changed - PIXELS[:, :, ::-1]).mean() > 1
    assert np.abs(changed - stored).mean() > 1


def test_without_random_changes_further_views_are_the_image_or_its_mirror_image() -> None:
    config = CONFIG.model_copy(update={"augmentation": NO_RANDOM_CHANGES})
    for view in AugmentedViews(config, 4).make(PIXELS):
        for image, original in zip(view.numpy(), PIXELS, strict=True):
            assert any(np.array_equal(image, known) for known in (original, original[:, ::-1]))


@pytest.mark.parametrize(("seed", "shard", "same"), [(0, 7, True), (0, 8, False), (1, 7, False)])
def test_random_views_are_determined_by_seed_and_shard(seed: int, shard: int, same: bool) -> None:
    views = AugmentedViews(CONFIG, 3)
    views.make(PIXELS)
    views.reseed(7)
    before = views.make(PIXELS)[2].numpy()
    again = AugmentedViews(CONFIG.model_copy(update={"seed": seed}), 3)
    again.reseed(shard)
    assert np.array_equal(again.make(PIXELS)[2], before) == same


def test_shards_do_not_repeat_each_other() -> None:
    views = AugmentedViews(CONFIG, 3)
    drawn = []
    for shard in range(3):
        views.reseed(shard)
        drawn += [views.make(PIXELS)[2].numpy() for _ in range(3)]
    for position, one in enumerate(drawn):
        assert not any(np.array_equal(one, other) for other in drawn[position + 1 :])
