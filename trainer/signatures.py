"""Exports the SavedModel, with preprocessing in the graph and three signatures."""

from __future__ import annotations

import keras
import tensorflow as tf

from trainer import batch_norm_folding, features, image_limits, model
from trainer.preprocessing import decode_and_resize

EXAMPLES_SIGNATURE = "serving_examples"
CLASS_ACTIVATION_SIGNATURE = "class_activation"


def probability_name(class_names: tuple[str, str]) -> str:
    """Returns the name of the output with the second class's probability, for example `dog_probability`."""
    return f"{class_names[1]}_probability"


def export(
    network: keras.Model, image_size: int, class_names: tuple[str, str], max_pixels: int, path: str
) -> None:
    """Writes a float32 SavedModel that takes encoded images; batch normalisation is folded into its weights.

    Signatures:
        serving_default: `image_bytes` string [N], JPEG or PNG → `<class>_probability` float32 [N],
            `label` string [N].
        serving_examples: `examples` string [N], serialized `tf.Example`s with `image/encoded` → the same.
        class_activation: `image_bytes` as above → `activation` float32 [N, h, w], in logits: positive where
            a region supports the second class, negative for the first; see `trainer.model.class_activation`.

    Each signature rejects images that are not JPEG or PNG, or exceed a limit, before it decodes any.

    Args:
        network: From pixels, float32 [N, size, size, 3] in 0…255, to the second class's probability [N, 1].
        image_size: Height and width that the network expects.
        class_names: The two values of `label`; the second one if the probability is at least 0.5.
        max_pixels: Largest image: width times height.
        path: Folder to write to.
    """
    network = batch_norm_folding.fold_batch_norm(network, "float32")
    activation = model.class_activation(network)

    def read_pixels(encoded: tf.Tensor) -> tf.Tensor:
        accepted = image_limits.check(encoded, max_pixels)
        return tf.cast(decode_and_resize(accepted, image_size), tf.float32)

    def predict(encoded: tf.Tensor) -> dict[str, tf.Tensor]:
        probability = tf.reshape(network(read_pixels(encoded), training=False), [-1])
        label = tf.where(probability >= 0.5, class_names[1], class_names[0])
        return {probability_name(class_names): probability, "label": label}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return predict(image_bytes)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve_examples(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, {features.ENCODED: tf.io.FixedLenFeature([], tf.string)})
        return predict(parsed[features.ENCODED])

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def class_activation(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"activation": activation(read_pixels(image_bytes))}

    module = tf.Module()
    # TensorFlow variables, not the Keras variables that wrap them: a SavedModel stores a second copy of each
    # Keras variable, and a session, which TensorFlow Serving uses, restores only the copies.
    module.weights = [variable.value for variable in network.variables]
    tf.saved_model.save(
        module,
        path,
        signatures={
            "serving_default": serve_bytes,
            EXAMPLES_SIGNATURE: serve_examples,
            CLASS_ACTIVATION_SIGNATURE: class_activation,
        },
    )
