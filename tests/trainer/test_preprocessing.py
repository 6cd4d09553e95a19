import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from trainer import features
from trainer.preprocessing import Normalise, decode_and_resize, parse_transformed, preprocessing_fn


def _encoded(image: Image.Image, file_format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, file_format)
    return buffer.getvalue()


def _gradient(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([rows * 255 / height, columns * 255 / width, np.full_like(rows, 90)], axis=-1)
    return Image.fromarray(pixels.astype(np.uint8), "RGB")


@pytest.mark.parametrize(
    ("mode", "file_format"),
    [
        ("RGB", "JPEG"),
        ("L", "JPEG"),
        ("CMYK", "JPEG"),
        ("RGB", "PNG"),
        ("RGBA", "PNG"),
        ("P", "PNG"),
        ("I;16", "PNG"),
    ],
)
def test_every_accepted_format_becomes_rgb_pixels(mode: str, file_format: str) -> None:
    image = Image.new("I;16", (50, 40), 30_000) if mode == "I;16" else _gradient(50, 40).convert(mode)

    pixels = decode_and_resize(tf.constant([_encoded(image, file_format)]), 32)

    assert pixels.shape == (1, 32, 32, 3)
    assert pixels.dtype == tf.uint8


def test_channels_stay_in_red_green_blue_order() -> None:
    red = Image.new("RGB", (40, 40), (250, 10, 20))
    np.testing.assert_array_equal(
        decode_and_resize(tf.constant([_encoded(red, "PNG")]), 32)[0, 0, 0], [250, 10, 20]
    )


@pytest.mark.parametrize("height", [640, 40])
def test_shrinking_averages_instead_of_skipping_pixels(height: int) -> None:
    stripes = Image.fromarray(np.tile(np.array([0, 255], np.uint8), (height, 320)))
    pixels = decode_and_resize(tf.constant([_encoded(stripes, "PNG")]), 64)
    np.testing.assert_allclose(pixels, 127.5, atol=8)


def test_small_images_are_enlarged_smoothly() -> None:
    pixels = decode_and_resize(tf.constant([_encoded(_gradient(16, 16), "PNG")]), 64)[0].numpy().astype(int)
    assert np.abs(np.diff(pixels[:, :, 0], axis=0)).max() <= 6


def test_bytes_that_are_not_an_image_raise() -> None:
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode_and_resize(tf.constant([b"not an image"]), 32)


def test_parsing_returns_exactly_what_transform_stored() -> None:
    encoded = [_encoded(_gradient(90, 60), "JPEG"), _encoded(_gradient(30, 70), "PNG")]
    inputs = {features.ENCODED: tf.constant(encoded), features.LABEL: tf.constant([1, 0], tf.int64)}

    outputs = preprocessing_fn(inputs, {"image_size": 48})

    for index, expected in enumerate(decode_and_resize(tf.constant(encoded), 48)):
        stored = tf.train.Example(
            features=tf.train.Features(
                feature={
                    features.PIXELS: tf.train.Feature(
                        bytes_list=tf.train.BytesList(value=[outputs[features.PIXELS][index].numpy()])
                    ),
                    features.LABEL: tf.train.Feature(
                        int64_list=tf.train.Int64List(value=[int(outputs[features.LABEL][index])])
                    ),
                }
            )
        ).SerializeToString()
        pixels, label = parse_transformed(stored, 48)
        np.testing.assert_array_equal(pixels, expected)
        assert label == [1, 0][index]


def test_normalise_is_rebuilt_from_its_config() -> None:
    layer = keras.saving.deserialize_keras_object(
        keras.saving.serialize_keras_object(Normalise("mobilenet_v2"))
    )
    np.testing.assert_allclose(layer(tf.fill([1, 1, 1, 3], 255.0)), 1)
