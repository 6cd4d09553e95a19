from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from serving.local import pictures
from serving.local.status import StatusError
from tests.serving import bad_pictures
from tests.serving.bad_pictures import encode

LIMIT = 50_000_000


def strings(*values: bytes) -> dict[str, np.ndarray]:
    return {"image_bytes": np.array(values, object)}


def example(encoded: bytes) -> bytes:
    built = tf.train.Example()
    built.features.feature["image/class/label"].int64_list.value.append(1)
    built.features.feature["image/encoded"].bytes_list.value.append(encoded)
    return built.SerializeToString()


@pytest.mark.parametrize("kind", bad_pictures.ANSWERED)
def test_usual_and_unusual_pictures_pass(kind: str) -> None:
    pictures.check(strings(bad_pictures.ANSWERED[kind]()), LIMIT)


@pytest.mark.parametrize("huge", [bad_pictures.png_that_says, bad_pictures.jpeg_that_says])
def test_a_huge_picture_is_refused_with_its_size_and_the_limit(huge: Callable[[int, int], bytes]) -> None:
    with pytest.raises(StatusError) as refused:
        pictures.check(strings(encode("PNG"), huge(50_000, 40_000)), LIMIT)
    assert refused.value.http_status == 400
    assert refused.value.message == (
        "image_bytes is a picture of 50000×40000 pixels, and the limit is 50000000 pixels: "
        "send a smaller one."
    )


def test_the_limit_itself_is_allowed() -> None:
    pictures.check(strings(bad_pictures.png_that_says(10_000, 5_000)), LIMIT)
    with pytest.raises(StatusError, match="10000×5001"):
        pictures.check(strings(bad_pictures.png_that_says(10_000, 5_001)), LIMIT)


def test_a_huge_picture_in_an_example_is_refused() -> None:
    pictures.check(strings(example(encode("JPEG"))), LIMIT)
    with pytest.raises(StatusError, match="50000×50000"):
        pictures.check(strings(example(bad_pictures.jpeg_that_says(50_000, 50_000))), LIMIT)


HUGE = example(bad_pictures.png_that_says(50_000, 50_000))
ANOTHER = tf.train.Features(feature={"ä": tf.train.Feature()})


@pytest.mark.parametrize(
    "hidden",
    [
        b"\x12\x00" + HUGE,  # an unknown field before it
        b"BM"
        + bytes(16)
        + b"\1\0\0\0\1\0\0\0"
        + bytes(53)
        + HUGE,  # a small BMP's header is an unknown field
        tf.train.Example(features=ANOTHER).SerializeToString().replace(b"\xc3\xa4", b"\xff\xff") + HUGE,
    ],
    ids=["unknown", "bmp", "no-utf8"],
)
def test_a_huge_picture_in_whatever_tensorflow_takes_for_an_example_is_refused(hidden: bytes) -> None:
    found = tf.io.parse_example([hidden], {"image/encoded": tf.io.FixedLenFeature([], tf.string)})
    assert found["image/encoded"].numpy() == [bad_pictures.png_that_says(50_000, 50_000)]
    with pytest.raises(StatusError, match="50000×50000"):
        pictures.check(strings(hidden), LIMIT)


def test_an_example_of_endless_fields_is_refused_soon() -> None:
    started = time.process_time()
    with pytest.raises(StatusError, match="too many fields"):
        pictures.check(strings(b"\x10\x00" * 10_000_000), LIMIT)
    assert time.process_time() - started < 2


def test_a_long_animation_is_refused() -> None:
    with pytest.raises(StatusError, match="60×40×30 frames pixels"):
        pictures.check(strings(bad_pictures.animation(30)), 60 * 40 * 29)


@pytest.mark.parametrize("start", [b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"])
def test_jpeg_xl_is_refused_as_its_size_is_not_known(start: bytes) -> None:
    with pytest.raises(StatusError, match="JPEG XL"):
        pictures.check(strings(start + bytes(100)), LIMIT)


def test_a_file_of_endless_parts_is_refused() -> None:
    with pytest.raises(StatusError, match="more parts than pictures have"):
        pictures.check(strings(b"\xff\xd8\xff" + b"\xe0\x00\x02\xff" * 600_000), LIMIT)


def test_other_tensors_and_texts_are_let_through() -> None:
    pictures.check(
        {
            "x": np.ones((2, 2)),
            "text": np.array([[b"\n\xff\xff no example", b""]], object),
            "s": np.array(b"a"),
        },
        0,
    )


def test_it_costs_little() -> None:
    inputs = strings(*[encode("JPEG", size=(500, 375))] * 400)
    started = time.process_time()
    pictures.check(inputs, LIMIT)
    assert (time.process_time() - started) / 400 < 200e-6
