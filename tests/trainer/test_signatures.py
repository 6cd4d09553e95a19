from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf

from trainer import features, model, signatures, weights
from trainer.preprocessing import decode_and_resize
from trainer.recipe import TrainingSettings

SIZE = 48


@pytest.fixture(scope="module")
def network() -> keras.Model:
    recipe = TrainingSettings(image_size=SIZE)
    keras.utils.set_random_seed(0)
    return model.build(weights.pretrained("MobileNetV2", SIZE, "packaged"), recipe)


@pytest.fixture(scope="module")
def folder(network: keras.Model, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("model")
    signatures.export(network, SIZE, ("ant", "bee"), str(path))
    return str(path)


@pytest.fixture(scope="module")
def exported(folder: str) -> tf.Module:
    return tf.saved_model.load(folder)


@pytest.fixture(scope="module")
def encoded(picture: Callable[..., bytes]) -> list[bytes]:
    return [picture(0), picture(1, kind="PNG"), picture(2, mode="L"), picture(3, size=(200, 300))]


def test_bytes_are_answered_with_probability_and_label(exported: tf.Module, encoded: list[bytes]) -> None:
    answer = exported.signatures["serving_default"](image_bytes=tf.constant(encoded))

    assert set(answer) == {"bee_probability", "label"}
    assert answer["bee_probability"].dtype == tf.float32
    assert answer["bee_probability"].shape == (4,)
    expected = [b"bee" if p >= 0.5 else b"ant" for p in answer["bee_probability"]]
    assert list(answer["label"].numpy()) == expected


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


def test_a_session_as_tensorflow_serving_runs_it_answers_the_same(
    folder: str, exported: tf.Module, encoded: list[bytes]
) -> None:
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        signature = tf.compat.v1.saved_model.load(session, ["serve"], folder).signature_def["serving_default"]
        answer = session.run(
            signature.outputs["bee_probability"].name, {signature.inputs["image_bytes"].name: encoded}
        )

    expected = exported.signatures["serving_default"](image_bytes=tf.constant(encoded))["bee_probability"]
    np.testing.assert_allclose(answer, expected, atol=1e-5)


def test_the_answer_does_not_depend_on_the_batch(exported: tf.Module, encoded: list[bytes]) -> None:
    serve = exported.signatures["serving_default"]
    together = serve(image_bytes=tf.constant(encoded))["bee_probability"]
    alone = [serve(image_bytes=tf.constant([image]))["bee_probability"][0] for image in encoded]
    np.testing.assert_allclose(together, alone, atol=1e-5)
