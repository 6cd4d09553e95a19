"""The network: normalisation, a pretrained backbone, one sigmoid; for training, augmentation before them."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import tensorflow as tf

from trainer import backbones, divide_backbone
from trainer.augmentation import random_changes
from trainer.preprocessing import Normalise
from trainer.training_config import TrainingConfig

POOLED, ACTIVATIONS = "pooled", "activations"


def build(backbone: keras.Model, recipe: TrainingConfig) -> keras.Model:
    """Puts normalisation and a head around a backbone.

    The backbone's batch normalisation uses the pretrained statistics in both phases, since
    `trainer.backbones.unfreeze` leaves it frozen.

    Args:
        backbone: From scaled pixels to features [N, h, w, channels].
        recipe: Names the backbone's scaling, and sets image size and dropout.

    Returns:
        A model from pixels, float32 [N, size, size, 3] in 0…255, to the second class's probability,
        float32 [N, 1].
    """
    pixels = keras.Input((recipe.image_size, recipe.image_size, 3), name="pixels")
    x = Normalise(backbones.family(recipe.backbone), name="normalise")(pixels)
    x = backbone(x, training=False)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(recipe.dropout, seed=recipe.seed, name="dropout")(x)
    probability = keras.layers.Dense(1, activation="sigmoid", dtype="float32", name="probability")(x)
    return keras.Model(pixels, probability, name="classifier")


class Parts(NamedTuple):
    """A network taken apart where its frozen part ends; the parts share its layers.

    Attributes:
        frozen: From pixels, as the network takes them, to what no phase changes, by kind: `pooled`, the
            head's input before fine-tuning, float32 [N, channels], and `activations`, where fine-tuning
            begins, [N, h, w, c].
        head: From `pooled` to the network's output.
        tail: From `activations` to the network's output; None without fine-tuning.
    """

    frozen: keras.Model
    head: keras.Model
    tail: keras.Model | None


def take_apart(network: keras.Model, backbone: keras.Model, last_blocks: int) -> Parts:
    """Takes a network apart for training from features that are kept.

    Args:
        network: What `build` returned.
        backbone: The backbone inside it.
        last_blocks: How many of its blocks fine-tuning trains; 0 without fine-tuning.

    Raises:
        BackboneError: The backbone cannot be cut before these blocks.
    """
    pool = network.get_layer("pool")
    pixels = keras.Input(network.input_shape[1:], name="pixels")
    scaled = network.get_layer("normalise")(pixels)

    def head_on(pooled: keras.KerasTensor) -> keras.KerasTensor:
        return network.get_layer("probability")(network.get_layer("dropout")(pooled))

    kept = {}
    tail = None
    if last_blocks:
        prefix, suffix = divide_backbone.before_last_blocks(backbone, last_blocks)
        kept[ACTIVATIONS] = prefix(scaled, training=False)
        feature_map = suffix(kept[ACTIVATIONS], training=False)
        activations = keras.Input(suffix.input_shape[1:], name=ACTIVATIONS)
        tail = keras.Model(activations, head_on(pool(suffix(activations, training=False))), name="tail")
    else:
        feature_map = backbone(scaled, training=False)
    kept[POOLED] = pool(feature_map)
    pooled = keras.Input(kept[POOLED].shape[1:], name=POOLED)
    return Parts(keras.Model(pixels, kept), keras.Model(pooled, head_on(pooled), name="head"), tail)


def class_activation(network: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns what tells where in a picture the network sees its classes.

    The class-activation map of Zhou et al., "Learning Deep Features for Discriminative Localization" (CVPR
    2016): the head's weights, applied at every place of the last feature map instead of to its mean. The mean
    of the map plus the head's bias is the logit of the probability.

    Args:
        network: What `build` returned, or any that ends with global average pooling and a dense layer.

    Returns:
        A function from pixels, float32 [N, size, size, 3] in 0…255, to the map in logits, float32 [N, h, w]:
        positive where it speaks for the second class, negative for the first.
    """
    pool = next(one for one in network.layers if isinstance(one, keras.layers.GlobalAveragePooling2D))
    feature_map = keras.Model(network.input, pool.input)
    weights = network.layers[-1].kernel

    def activation(pixels: tf.Tensor) -> tf.Tensor:
        return tf.tensordot(feature_map(pixels, training=False), weights[:, 0], axes=1)

    return activation


def with_augmentation(network: keras.Model, recipe: TrainingConfig) -> keras.Model:
    """Wraps a network for training: random changes of the pixels first, which evaluation leaves out.

    Args:
        network: What `build` returned; its weights are shared.
        recipe: Image size, augmentation and its seed.

    Returns:
        A model from pixels, uint8 [N, size, size, 3], to the network's output.
    """
    pixels = keras.Input((recipe.image_size, recipe.image_size, 3), dtype="uint8", name="stored_pixels")
    x = keras.ops.cast(pixels, "float32")
    for change in random_changes(recipe.augmentation, recipe.seed):
        x = change(x)
    return keras.Model(pixels, network(x), name="training")


def compile_for_training(model: keras.Model, learning_rate: float, steps: int, jit: bool) -> None:
    """Compiles a model: the same optimizer, loss and metrics for both phases.

    Adam's step size falls to zero along half a cosine (Loshchilov and Hutter, "SGDR: Stochastic Gradient
    Descent with Warm Restarts", ICLR 2017, without the restarts).

    Args:
        model: From anything to a probability, float32 [N, 1].
        learning_rate: The step size at the start.
        steps: How many steps the phase has at most.
        jit: Whether XLA compiles the steps, where the layers can be compiled.
    """
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(learning_rate, steps)),
        loss=keras.losses.BinaryCrossentropy(),
        metrics=[keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")],
        jit_compile="auto" if jit else False,
    )
