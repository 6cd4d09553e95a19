from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer import feature_cache
from trainer.feature_cache import SHARD_IMAGES, CachedSplit, FeatureCache

SHAPES = {"pooled": (4,), "activations": (2, 2, 3)}
SPLIT = CachedSplit("train", images=SHARD_IMAGES + 10, views=2)
KEY: dict[str, int | str] = {"images": "abc", "views": 2}


def open_cache(root: Path, dtype: str = "float32", **changes: int | str) -> FeatureCache:
    return FeatureCache(root, KEY | changes, SHAPES, dtype)


def shard_features(shard: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Returns the features of a whole shard, all different, and labels that depend on them."""
    count = SPLIT.images_in(shard) * SPLIT.views
    numbers = np.arange(count, dtype="float32") + 1000 * shard
    features = {feature: np.stack([np.full(shape, n) for n in numbers]) for feature, shape in SHAPES.items()}
    return features, numbers % 2


def filled_cache(root: Path, dtype: str = "float32") -> FeatureCache:
    cache = open_cache(root, dtype)
    for shard in cache.missing(SPLIT):
        features, labels = shard_features(shard)
        half = len(labels) // 2
        with cache.writing(SPLIT, shard) as add:
            add({feature: all_values[:half] for feature, all_values in features.items()}, labels[:half])
            add({feature: all_values[half:] for feature, all_values in features.items()}, labels[half:])
    return cache


def record_numbers(
    cache: FeatureCache, feature: str = "pooled", memory_mb: int = 1, seed: int | None = None
) -> list[float]:
    """Returns the number that identifies each record, in reading order."""
    batches = cache.batches(feature, SPLIT, 32, memory_mb, seed)
    return [float(record.flat[0]) for batch, _ in batches.as_numpy_iterator() for record in batch]


def feature_file(root: Path, feature: str, shard: int) -> Path:
    [file] = root.glob(f"*/train/{shard:05}/{feature}")
    return file


@pytest.mark.parametrize("feature", SHAPES)
def test_cached_features_are_read_in_order(feature: str, tmp_path: Path) -> None:
    batches = list(filled_cache(tmp_path).batches(feature, SPLIT, 100, 1).as_numpy_iterator())
    expected = [shard_features(shard) for shard in range(SPLIT.shards)]
    np.testing.assert_array_equal(
        np.concatenate([features for features, _ in batches]),
        np.concatenate([features[feature] for features, _ in expected]),
    )
    np.testing.assert_array_equal(
        np.concatenate([labels for _, labels in batches]), np.concatenate([labels for _, labels in expected])
    )
    assert [len(labels) for _, labels in batches] == [100] * 5 + [32]


def test_a_later_training_finds_the_cached_features(tmp_path: Path) -> None:
    filled_cache(tmp_path)
    assert open_cache(tmp_path).missing(SPLIT) == []


@pytest.mark.parametrize(("key", "other"), [("images", "def"), ("views", 3), ("weights", "others")])
def test_features_with_another_key_are_not_used(key: str, other: int | str, tmp_path: Path) -> None:
    filled_cache(tmp_path)
    assert open_cache(tmp_path, "float32", **{key: other}).missing(SPLIT) == [0, 1]


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def drop_a_record(file: Path) -> None:
    content = file.read_bytes()
    record = len(content) // (SPLIT.images_in(0) * SPLIT.views)
    file.write_bytes(content[:-record])


@pytest.mark.parametrize("damage", [flip_a_byte, truncate, drop_a_record, Path.unlink])
@pytest.mark.parametrize("feature", SHAPES)
def test_a_damaged_shard_is_logged_and_missing(
    damage: object, feature: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled_cache(tmp_path)
    file = feature_file(tmp_path, feature, 0)
    assert callable(damage)
    damage(file)
    cache = open_cache(tmp_path)
    assert cache.missing(SPLIT) == [0]
    [message] = caplog.messages
    assert str(file.parent) in message
    assert record_numbers(filled_cache(tmp_path), feature) == [
        float(n) for s in (0, 1) for n in shard_features(s)[0]["pooled"][:, 0]
    ]


def test_a_cache_without_a_valid_key_file_is_removed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled_cache(tmp_path)
    [key_file] = tmp_path.glob("*/made_from.json")
    key_file.write_text("{}")
    assert open_cache(tmp_path).missing(SPLIT) == [0, 1]
    [message] = caplog.messages
    assert str(key_file.parent) in message


def test_a_cache_unused_for_a_day_is_removed_and_newer_ones_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    filled_cache(tmp_path)
    open_cache(tmp_path, views=3)
    [old] = [folder for folder in tmp_path.iterdir() if (folder / "train").exists()]
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    open_cache(tmp_path, views=4)
    assert not old.exists()
    assert len(list(tmp_path.iterdir())) == 2
    assert str(old) in caplog.text


def test_opening_a_cache_marks_it_as_used(tmp_path: Path) -> None:
    filled_cache(tmp_path)
    [folder] = tmp_path.iterdir()
    yesterday = time.time() - 25 * 3600
    os.utime(folder, (yesterday, yesterday))
    open_cache(tmp_path)
    open_cache(tmp_path, views=3)
    assert folder.exists()


@pytest.mark.parametrize("megabyte", [1 << 20, 5000])  # all records fit into memory, or a fifth of them
def test_shuffling_loses_no_record_and_differs_in_each_epoch(
    megabyte: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "_MEGABYTE", megabyte)
    batches = filled_cache(tmp_path).batches("activations", SPLIT, 32, memory_mb=1, shuffle_seed=0)
    epochs = [
        [float(record.flat[0]) for batch, _ in batches.as_numpy_iterator() for record in batch]
        for _ in range(2)
    ]
    in_order = record_numbers(filled_cache(tmp_path))
    assert sorted(epochs[0]) == sorted(epochs[1]) == in_order
    assert epochs[0] != in_order
    assert epochs[0] != epochs[1]


def test_features_that_do_not_fit_into_memory_are_read_in_every_epoch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    cache = filled_cache(tmp_path)
    in_memory = cache.batches("pooled", SPLIT, 32, 1)
    assert not caplog.messages
    monkeypatch.setattr(feature_cache, "_MEGABYTE", 1000)
    streamed = cache.batches("pooled", SPLIT, 32, 1)
    assert len(caplog.messages) == 1
    assert [len(labels) for _, labels in streamed.as_numpy_iterator()] == [32] * 16 + [20]
    assert record_numbers(cache, memory_mb=1) == record_numbers(cache, memory_mb=9)
    first = {id(data): list(data.as_numpy_iterator()) for data in (in_memory, streamed)}
    for file in tmp_path.glob("*/train/*/pooled"):
        file.unlink()
    assert len(list(in_memory.as_numpy_iterator())) == len(first[id(in_memory)])
    with pytest.raises(tf.errors.NotFoundError):
        list(streamed.as_numpy_iterator())


def test_float16_keeps_three_digits_and_clips_large_values(tmp_path: Path) -> None:
    cache = open_cache(tmp_path, "float16")
    split = CachedSplit("eval", 2, 1)
    features = {"pooled": np.array([[1.2345, -1e6, 1e6, 0]] * 2), "activations": np.zeros((2, 2, 2, 3))}
    with cache.writing(split, 0) as add:
        add(features, np.array([0.0, 1.0]))
    [(features, labels)] = cache.batches("pooled", split, 2, 1).as_numpy_iterator()
    np.testing.assert_allclose(features[0], [1.2345, -65504, 65504, 0], rtol=5e-4)
    assert labels.tolist() == [0, 1]
    assert features.dtype == np.float32
