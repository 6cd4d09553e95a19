"""The limits in the exported graph, which must agree with `serving.image_limits`."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import pytest
import tensorflow as tf

import serving.image_limits
from serving.image_limits import ImageLimitError
from tests.serving import bad_images, mutated_images
from tests.serving.bad_images import encode
from trainer import image_limits, signatures

Run = Callable[[str, list[bytes]], None]


def example(encoded: bytes) -> bytes:
    bytes_list = tf.train.BytesList(value=[encoded])
    feature = {"image/encoded": tf.train.Feature(bytes_list=bytes_list)}
    serialized: bytes = tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()
    return serialized


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs a signature of an exported model on images, in a session as in TensorFlow Serving."""
    folder = str(tmp_path_factory.mktemp("model"))
    pixels = keras.Input((8, 8, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(pixels)
    network = keras.Model(pixels, keras.layers.Dense(1, activation="sigmoid")(pooled))
    signatures.export(network, 8, ("ant", "bee"), mutated_images.MAX_PIXELS, folder)
    session = tf.compat.v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def

    def run_signature(name: str, images: list[bytes]) -> None:
        (given,) = loaded[name].inputs.values()
        fed = [example(image) for image in images] if name == signatures.EXAMPLES_SIGNATURE else images
        session.run([output.name for output in loaded[name].outputs.values()], {given.name: fed})

    return run_signature


@pytest.fixture(scope="module")
def check() -> Callable[[bytes], Any]:
    @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
    def check_one(image: tf.Tensor) -> tf.Tensor:
        return image_limits.check(image[None], mutated_images.MAX_PIXELS)

    return check_one


ALL_SIGNATURES = ["serving_default", signatures.EXAMPLES_SIGNATURE, signatures.CLASS_ACTIVATION_SIGNATURE]
REFUSED = {
    "PNG with too many pixels": (bad_images.png_claiming(4001, 1), "pixels: 4001, the limit is 4000"),
    "JPEG with too many pixels": (bad_images.jpeg_claiming(81, 50), "pixels: 4050, the limit is 4000"),
    "PNG of 50,000 × 50,000": (bad_images.png_claiming(50_000, 50_000), "2500000000"),
    "PNG with a chunk before its header": (bad_images.png_with_early_chunk(60, 40), "IHDR"),
    "JPEG with 101 scans": (bad_images.jpeg_with_scans(101), "more than 100 scans"),
    "PNG with 9 compressed texts": (bad_images.png_with_texts(9), "more than 8 compressed texts"),
    **{kind: (encode(kind), "neither a JPEG nor a PNG") for kind in ("GIF", "BMP", "WEBP")},
    "text": (b"text", "neither a JPEG nor a PNG"),
    "nothing": (b"", "neither a JPEG nor a PNG"),
    "a PNG's magic only": (encode("PNG")[:8], "IHDR"),
}


@pytest.mark.parametrize("name", ALL_SIGNATURES)
@pytest.mark.parametrize("kind", REFUSED)
def test_every_signature_rejects_it(run: Run, name: str, kind: str) -> None:
    encoded, reason = REFUSED[kind]
    with pytest.raises(tf.errors.InvalidArgumentError, match=reason):
        run(name, [encode("PNG"), encoded, encode("JPEG")])


@pytest.mark.parametrize("name", ALL_SIGNATURES)
def test_every_signature_accepts_valid_images(run: Run, name: str) -> None:
    run(name, [accepted() for accepted in bad_images.ACCEPTED.values()])
    run(name, [bad_images.jpeg_with_scans(100), bad_images.png_with_texts(8)])


def test_the_number_of_scans_is_limited_for_the_size() -> None:
    encoded = bytearray(bad_images.jpeg_with_scans(14))
    frame = encoded.index(b"\xff\xc2") + 5
    struct.pack_into(">HH", encoded, frame, 5000, 5600)
    image_limits.check(tf.constant([bytes(encoded)]), 50_000_000)
    struct.pack_into(">HH", encoded, frame, 5000, 6000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 13 scans"):
        image_limits.check(tf.constant([bytes(encoded)]), 50_000_000)


@pytest.mark.parametrize("components", [1, 2, 3, 4])
def test_scans_of_any_number_of_components_count(components: int) -> None:
    encoded = encode("JPEG")
    image_limits.check(tf.constant([encoded + 99 * bad_images.scan_header(components)]), 50_000_000)
    with pytest.raises(tf.errors.InvalidArgumentError, match="more than 100 scans"):
        image_limits.check(tf.constant([encoded + 100 * bad_images.scan_header(components)]), 50_000_000)


def test_the_limits_are_those_of_serving() -> None:
    for name in ("MAX_SCANS", "MAX_SCAN_PIXELS", "MAX_COMPRESSED_TEXTS"):
        assert getattr(image_limits, name) == getattr(serving.image_limits, name)


def test_both_checks_agree_on_mutated_images(check: Callable[[bytes], Any]) -> None:
    """Whatever one of them accepts and the decoder decodes, the other one accepts as well."""
    chance = random.Random(7)
    accepted = 0
    for _ in range(300):
        encoded = mutated_images.mutate(chance)
        try:
            in_python = serving.image_limits.check_image(encoded, mutated_images.MAX_PIXELS) > 0
        except ImageLimitError:
            in_python = False
        try:
            check(tf.constant(encoded))
            in_graph = True
        except tf.errors.InvalidArgumentError:
            in_graph = False
        if in_python != in_graph:
            with pytest.raises(tf.errors.InvalidArgumentError):
                tf.io.decode_image(encoded, channels=3, expand_animations=False)
        accepted += in_python and in_graph
    assert accepted > 30


def test_photographs_are_accepted(photographs: Path) -> None:
    files = sorted(photographs.glob("*/*/*.jpg"))[::50]
    image_limits.check(tf.constant([file.read_bytes() for file in files]), 50_000_000)
