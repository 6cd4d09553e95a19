from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import features, hardware, model, signatures, weights
from trainer.preprocessing import decode_and_resize
from trainer.training_config import TrainingConfig

SIZE = 48


@pytest.fixture(scope="module")
def network() -> keras.Model:
    config = TrainingConfig(image_size=SIZE)
    keras.utils.set_random_seed(0)
    built = model.build(weights.load_backbone("MobileNetV2", SIZE, "packaged"), config)
    built.layers[-1].bias.assign([0.3])  # not 0, as after training
    return built


@pytest.fixture(scope="module")
def folder(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    signatures.export(network, SIZE, ("ant", "bee"), 50_000_000, str(path))
    return str(path)


@pytest.fixture(scope="module")
def exported(folder: str) -> tf.Module:
    return tf.saved_model.load(folder)


@pytest.fixture(scope="module")
def encoded(make_image: Callable[..., bytes]) -> list[bytes]:
    return [make_image(0), make_image(1, kind="PNG"), make_image(2, mode="L"), make_image(3, size=(200, 300))]


def test_bytes_give_probability_and_label(exported: tf.Module, encoded: list[bytes]) -> None:
    output_values = exported.signatures["serving_default"](image_bytes=tf.constant(encoded))

    assert set(output_values) == {"bee_probability", "label"}
    assert output_values["bee_probability"].dtype == tf.float32
    assert output_values["bee_probability"].shape == (4,)
    expected = [b"bee" if p >= 0.5 else b"ant" for p in output_values["bee_probability"]]
    assert list(output_values["label"].numpy()) == expected


def test_bytes_examples_and_training_input_agree(
    exported: tf.Module, network: keras.Model, encoded: list[bytes]
) -> None:
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={features.ENCODED: tf.train.Feature(bytes_list=tf.train.BytesList(value=[image]))}
            )
        ).SerializeToString()
        for image in encoded
    ]
    from_bytes = exported.signatures["serving_default"](image_bytes=tf.constant(encoded))
    from_examples = exported.signatures[signatures.EXAMPLES_SIGNATURE](examples=tf.constant(examples))
    from_training = network(tf.cast(decode_and_resize(tf.constant(encoded), SIZE), tf.float32))

    np.testing.assert_allclose(from_examples["bee_probability"], from_bytes["bee_probability"], atol=1e-5)
    np.testing.assert_allclose(from_training[:, 0], from_bytes["bee_probability"], atol=1e-5)


def _logit(probability: tf.Tensor) -> np.ndarray:
    exact = probability.numpy().astype(np.float64)
    return np.log(exact / (1 - exact))


def test_the_mean_of_the_map_plus_the_bias_is_the_logit_of_the_probability(
    exported: tf.Module, encoded: list[bytes]
) -> None:
    probability = exported.signatures["serving_default"](image_bytes=tf.constant(encoded))["bee_probability"]
    maps = exported.signatures[signatures.CLASS_ACTIVATION_SIGNATURE](image_bytes=tf.constant(encoded))

    assert set(maps) == {"activation"}
    assert maps["activation"].dtype == tf.float32
    assert maps["activation"].shape == (4, 2, 2)
    assert np.std(maps["activation"], axis=(1, 2)).min() > 0.01
    np.testing.assert_allclose(np.mean(maps["activation"], axis=(1, 2)) + 0.3, _logit(probability), atol=1e-4)


def test_the_map_of_another_backbone_also_sums_up_to_its_logit(encoded: list[bytes]) -> None:
    config = TrainingConfig(image_size=64, backbone="VGG16", weights="random")
    keras.utils.set_random_seed(0)
    built = model.build(weights.load_backbone(config.backbone, 64, config.weights), config)
    built.layers[-1].bias.assign([-0.2])
    pixels = tf.cast(decode_and_resize(tf.constant(encoded), 64), tf.float32)

    activation = model.class_activation(built)(pixels)

    assert activation.shape == (4, 2, 2)
    assert np.std(activation, axis=(1, 2)).min() > 0.01
    np.testing.assert_allclose(np.mean(activation, axis=(1, 2)) - 0.2, _logit(built(pixels)[:, 0]), atol=1e-4)


def test_the_map_is_positive_in_regions_of_the_second_class() -> None:
    """The network takes red for the second class and blue for the first; the image is half red, half blue."""
    pixels = keras.Input((4, 4, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(pixels)
    head = keras.layers.Dense(1, activation="sigmoid")
    network = keras.Model(pixels, head(pooled))
    head.set_weights([np.array([[1.0], [0.0], [-1.0]]), np.array([5.0])])
    half_red = np.zeros([1, 4, 4, 3], np.float32)
    half_red[0, :, :2, 0] = half_red[0, :, 2:, 2] = 200

    activation = model.class_activation(network)(tf.constant(half_red))

    np.testing.assert_allclose(activation[0], [[200, 200, -200, -200]] * 4)


@pytest.mark.parametrize(
    ("name", "output"),
    [("serving_default", "bee_probability"), (signatures.CLASS_ACTIVATION_SIGNATURE, "activation")],
)
def test_a_session_as_in_tensorflow_serving_gives_the_same_output(
    name: str, output: str, folder: str, exported: tf.Module, encoded: list[bytes]
) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def[name]
        output_values = session.run(
            signature.outputs[output].name, {signature.inputs["image_bytes"].name: encoded}
        )

    expected = exported.signatures[name](image_bytes=tf.constant(encoded))[output]
    np.testing.assert_allclose(output_values, expected, atol=1e-5)


def test_the_probability_does_not_depend_on_the_batch(exported: tf.Module, encoded: list[bytes]) -> None:
    serve = exported.signatures["serving_default"]
    together = serve(image_bytes=tf.constant(encoded))["bee_probability"]
    alone = [serve(image_bytes=tf.constant([image]))["bee_probability"][0] for image in encoded]
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_a_network_in_mixed_precision_is_exported_in_float32(
    network: keras.Model, encoded: list[bytes], tmp_path: Path
) -> None:
    config = TrainingConfig(image_size=SIZE)
    with hardware.with_devices(["CPU:0"])._replace(precision="mixed_float16").scope():
        mixed = model.build(weights.load_backbone("MobileNetV2", SIZE, "packaged"), config)
        mixed.set_weights(network.get_weights())
    assert mixed.get_layer("pool").compute_dtype == "float16"
    signatures.export(mixed, SIZE, ("ant", "bee"), 50_000_000, str(tmp_path))

    serve = tf.saved_model.load(str(tmp_path)).signatures["serving_default"]
    output_values = serve(image_bytes=tf.constant(encoded))["bee_probability"]
    pixels = tf.cast(decode_and_resize(tf.constant(encoded), SIZE), tf.float32)
    np.testing.assert_allclose(output_values, network(pixels, training=False)[:, 0], rtol=0, atol=1e-5)
