from __future__ import annotations

import random

import pytest
import tensorflow as tf

from serving.local import example_bytes

KEYS = ["a", "image/encoded", "", "ä"]


def example(*values: bytes) -> bytes:
    built = tf.train.Example()
    built.features.feature["number"].float_list.value.extend([1.5, 2])
    built.features.feature["count"].int64_list.value.append(2**40)
    for number, value in enumerate(values):
        built.features.feature[KEYS[number % len(KEYS)]].bytes_list.value.append(value)
    return built.SerializeToString()


def test_all_values_of_bytes_are_found() -> None:
    values = [b"one", b"", b"x" * 100_000, b"\xff\xd8\xff", b"again"]
    assert sorted(example_bytes.values(example(*values))) == sorted(values)


def test_values_are_found_in_parts_that_are_merged() -> None:
    twice = example(b"one") + example(b"two")
    assert sorted(example_bytes.values(twice)) == [b"one", b"two"]


@pytest.mark.parametrize("field", [b"\x10\x05", b"\x11" + bytes(8), b"\x12\x01a", b"\x15" + bytes(4)])
def test_unknown_fields_of_every_kind_are_passed_over(field: bytes) -> None:
    assert list(example_bytes.values(field + example(b"one"))) == [b"one"]


def test_groups_end_an_example_for_tensorflow_too() -> None:
    # No bytes that are no text: TensorFlow quotes them in its error, and Python cannot read that.
    one = tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"one"]))
    grouped = (
        b"\x13\x14" + tf.train.Example(features=tf.train.Features(feature={"a": one})).SerializeToString()
    )
    assert not list(example_bytes.values(grouped))
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.io.parse_example([grouped], {"a": tf.io.FixedLenFeature([], tf.string)})


def test_a_long_text_is_no_example() -> None:
    assert not list(example_bytes.values(b"The quick brown fox jumps over the lazy dog. " * 50_000))


def test_bytes_at_random_end_it() -> None:
    dice = random.Random(0)
    whole = example(b"one", b"two")
    for _ in range(2000):
        list(example_bytes.values(dice.randbytes(50)))
        damaged = bytearray(whole)
        damaged[dice.randrange(len(whole))] = dice.randrange(256)
        list(example_bytes.values(bytes(damaged[: dice.randrange(len(whole))])))
