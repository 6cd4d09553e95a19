from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from trainer import feature_cache
from trainer.feature_cache import SHARD_PICTURES, FeatureCache, Split

SHAPES = {"pooled": (4,), "activations": (2, 2, 3)}
SPLIT = Split("train", pictures=SHARD_PICTURES + 10, views=2)
MADE_FROM: dict[str, int | str] = {"pictures": "abc", "views": 2}


def opened(root: Path, dtype: str = "float32", **made_from: int | str) -> FeatureCache:
    return FeatureCache(root, MADE_FROM | made_from, SHAPES, dtype)


def values(shard: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Features of a whole shard, each record other than all others, and labels that follow from them."""
    count = SPLIT.pictures_in(shard) * SPLIT.views
    numbers = np.arange(count, dtype="float32") + 1000 * shard
    made = {kind: np.stack([np.full(shape, n) for n in numbers]) for kind, shape in SHAPES.items()}
    return made, numbers % 2


def filled(root: Path, dtype: str = "float32") -> FeatureCache:
    cache = opened(root, dtype)
    for shard in cache.missing(SPLIT):
        made, labels = values(shard)
        half = len(labels) // 2
        with cache.writing(SPLIT, shard) as add:
            add({kind: of_kind[:half] for kind, of_kind in made.items()}, labels[:half])
            add({kind: of_kind[half:] for kind, of_kind in made.items()}, labels[half:])
    return cache


def first_numbers(
    cache: FeatureCache, kind: str = "pooled", memory_mb: int = 1, seed: int | None = None
) -> list[float]:
    """The number that tells each record from the others, in the order of reading."""
    batches = cache.batches(kind, SPLIT, 32, memory_mb, seed)
    return [float(one.flat[0]) for features, _ in batches.as_numpy_iterator() for one in features]


def files(root: Path, kind: str, shard: int) -> Path:
    [found] = root.glob(f"*/train/{shard:05}/{kind}")
    return found


@pytest.mark.parametrize("kind", SHAPES)
def test_what_was_kept_is_read_in_order(kind: str, tmp_path: Path) -> None:
    batches = list(filled(tmp_path).batches(kind, SPLIT, 100, 1).as_numpy_iterator())
    expected = [values(shard) for shard in range(SPLIT.shards)]
    np.testing.assert_array_equal(
        np.concatenate([features for features, _ in batches]),
        np.concatenate([made[kind] for made, _ in expected]),
    )
    np.testing.assert_array_equal(
        np.concatenate([labels for _, labels in batches]), np.concatenate([labels for _, labels in expected])
    )
    assert [len(labels) for _, labels in batches] == [100] * 5 + [32]


def test_a_later_training_finds_what_is_kept(tmp_path: Path) -> None:
    filled(tmp_path)
    assert opened(tmp_path).missing(SPLIT) == []


@pytest.mark.parametrize(("what", "other"), [("pictures", "def"), ("views", 3), ("weights", "others")])
def test_features_of_something_else_are_not_used(what: str, other: int | str, tmp_path: Path) -> None:
    filled(tmp_path)
    assert opened(tmp_path, "float32", **{what: other}).missing(SPLIT) == [0, 1]


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-7])


def drop_a_record(file: Path) -> None:
    content = file.read_bytes()
    record = len(content) // (SPLIT.pictures_in(0) * SPLIT.views)
    file.write_bytes(content[:-record])


@pytest.mark.parametrize("damage", [flip_a_byte, cut_off, drop_a_record, Path.unlink])
@pytest.mark.parametrize("kind", SHAPES)
def test_a_damaged_shard_is_noticed_said_and_made_anew(
    damage: object, kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    file = files(tmp_path, kind, 0)
    assert callable(damage)
    damage(file)
    cache = opened(tmp_path)
    assert cache.missing(SPLIT) == [0]
    [said] = caplog.messages
    assert str(file.parent) in said
    assert first_numbers(filled(tmp_path), kind) == [
        float(n) for s in (0, 1) for n in values(s)[0]["pooled"][:, 0]
    ]


def test_a_folder_that_does_not_say_what_it_holds_is_discarded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path)
    [note] = tmp_path.glob("*/made_from.json")
    note.write_text("{}")
    assert opened(tmp_path).missing(SPLIT) == [0, 1]
    [said] = caplog.messages
    assert str(note.parent) in said


def test_features_that_nobody_used_for_a_day_go_and_newer_ones_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    filled(tmp_path)
    opened(tmp_path, views=3)
    [old] = [folder for folder in tmp_path.iterdir() if (folder / "train").exists()]
    yesterday = time.time() - 25 * 3600
    os.utime(old, (yesterday, yesterday))
    opened(tmp_path, views=4)
    assert not old.exists()
    assert len(list(tmp_path.iterdir())) == 2
    assert str(old) in caplog.text


def test_features_that_are_used_again_count_as_used(tmp_path: Path) -> None:
    filled(tmp_path)
    [folder] = tmp_path.iterdir()
    yesterday = time.time() - 25 * 3600
    os.utime(folder, (yesterday, yesterday))
    opened(tmp_path)
    opened(tmp_path, views=3)
    assert folder.exists()


@pytest.mark.parametrize("megabyte", [1 << 20, 5000])  # all records fit, or a fifth of them
def test_shuffling_loses_nothing_and_differs_in_each_epoch(
    megabyte: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_cache, "_MEGABYTE", megabyte)
    batches = filled(tmp_path).batches("activations", SPLIT, 32, memory_mb=1, shuffle_seed=0)
    epochs = [
        [float(one.flat[0]) for features, _ in batches.as_numpy_iterator() for one in features]
        for _ in range(2)
    ]
    in_order = first_numbers(filled(tmp_path))
    assert sorted(epochs[0]) == sorted(epochs[1]) == in_order
    assert epochs[0] != in_order
    assert epochs[0] != epochs[1]


def test_only_what_fits_is_held_in_memory(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO)
    cache = filled(tmp_path)
    held = cache.batches("pooled", SPLIT, 32, 1)
    assert not caplog.messages
    monkeypatch.setattr(feature_cache, "_MEGABYTE", 1000)
    streamed = cache.batches("pooled", SPLIT, 32, 1)
    assert len(caplog.messages) == 1
    assert [len(labels) for _, labels in streamed.as_numpy_iterator()] == [32] * 16 + [20]
    assert first_numbers(cache, memory_mb=1) == first_numbers(cache, memory_mb=9)
    first = {id(data): list(data.as_numpy_iterator()) for data in (held, streamed)}
    for file in tmp_path.glob("*/train/*/pooled"):
        file.unlink()
    assert len(list(held.as_numpy_iterator())) == len(first[id(held)])
    with pytest.raises(tf.errors.NotFoundError):
        list(streamed.as_numpy_iterator())


def test_a_compact_type_keeps_three_digits_and_clips_what_it_cannot_hold(tmp_path: Path) -> None:
    cache = opened(tmp_path, "float16")
    split = Split("eval", 2, 1)
    made = {"pooled": np.array([[1.2345, -1e6, 1e6, 0]] * 2), "activations": np.zeros((2, 2, 2, 3))}
    with cache.writing(split, 0) as add:
        add(made, np.array([0.0, 1.0]))
    [(features, labels)] = cache.batches("pooled", split, 2, 1).as_numpy_iterator()
    np.testing.assert_allclose(features[0], [1.2345, -65504, 65504, 0], rtol=5e-4)
    assert labels.tolist() == [0, 1]
    assert features.dtype == np.float32
