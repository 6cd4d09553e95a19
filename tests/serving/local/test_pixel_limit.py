from __future__ import annotations

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from serving.local.pixel_limit import PixelLimiter
from serving.local.status import StatusError
from tests.serving import bad_images
from tests.serving.bad_images import encode

LIMIT = 50_000_000


class Model:
    """A fake servable that records its number of concurrent runs."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.runs = 0

    def run(self, *_: object) -> dict[str, np.ndarray]:
        self.runs += 1
        assert self.gate.wait(20)
        return {}


def check(*values: bytes, limit: int = LIMIT) -> None:
    """Runs a batch of strings on a fake model."""
    model = Model()
    PixelLimiter(limit).run(model, "", {"image_bytes": np.array(values, object)}, ())  # type: ignore[arg-type]
    assert model.runs == 1


def rejection(*values: bytes, limit: int = LIMIT) -> str:
    with pytest.raises(StatusError) as error:
        check(*values, limit=limit)
    assert error.value.http_status == 400
    return error.value.message


def example(encoded: bytes) -> bytes:
    built = tf.train.Example()
    built.features.feature["image/class/label"].int64_list.value.append(1)
    built.features.feature["image/encoded"].bytes_list.value.append(encoded)
    return built.SerializeToString()


@pytest.mark.parametrize("huge", [bad_images.png_claiming, bad_images.jpeg_claiming])
def test_rejects_a_huge_image(huge: Callable[[int, int], bytes]) -> None:
    for hidden in (huge(50_000, 40_000), example(huge(50_000, 40_000))):
        message = rejection(encode("PNG"), hidden)
        assert "50,000 × 40,000" in message
        assert "50,000,000" in message


def test_rejects_an_image_inside_bytes_that_may_be_another_format() -> None:
    assert "20,000 × 8,000" in rejection(b"BM" + b"x" * 77 + example(bad_images.png_claiming(20_000, 8000)))


@pytest.mark.parametrize("kind", ["GIF", "BMP", "WEBP"])
def test_rejects_another_format(kind: str) -> None:
    for hidden in (encode(kind), example(encode(kind))):
        assert kind.lower() in rejection(encode("PNG"), hidden).lower()


def test_leaves_other_bytes_to_the_model() -> None:
    check(b"", b"text", b"\n\xff\xff no example", b"\xff\xd8\xff", b"GIF89a", b"BM", encode("TIFF"))
    numbers = {"x": np.ones((2, 2)), "s": np.array(b"a")}
    PixelLimiter(0).run(Model(), "", numbers, ())  # type: ignore[arg-type]


def test_batches_wait_for_their_pixel_budget() -> None:
    bound, model = PixelLimiter(10_000), Model()
    model.gate.clear()

    def batch(image_count: int) -> threading.Thread:
        images = np.array([encode("PNG", size=(100, 100))] * image_count, object)
        thread = threading.Thread(target=bound.run, args=(model, "", {"x": images}, ()))
        thread.start()
        return thread

    threads = [batch(3)]
    until = time.monotonic() + 20
    while model.runs < 1 and time.monotonic() < until:
        time.sleep(0.01)
    threads += [batch(2), batch(9)]  # over the remaining budget; over the whole budget
    time.sleep(0.3)
    assert model.runs == 1
    model.gate.set()
    for thread in threads:
        thread.join(20)
    assert model.runs == 3
