"""The networks of Keras Applications, and the blocks that each consists of."""

from __future__ import annotations

import difflib
import inspect
import itertools
import re

import keras

# Layer names of a block in Keras Applications: block_13_expand, conv5_block2_1_conv, block6h_se_reduce,
# convnext_tiny_stage_3_block_2_gelu, expanded_conv_10_project, block5_conv3, conv_dw_13, normal_add_1_12, ….
_IN_BLOCK = re.compile(
    r"^(?:.*?_)??(?:"
    r"(conv\d+_block\d+|stage_\d+_block_\d+|expanded_conv(?:_\d+)?|(?<!downsampling_)block_?\d+[a-z]?)(?=_|$)"
    r"|conv_(?:pad|dw|pw)_(\d+)(?=_|$)"
    r"|(?:normal|reduction|adjust)_.*?(stem_\d+|reduce_\d+|\d+)$)"
)
# Inception networks only name the last layer of a block: mixed10, mixed_6a, block17_20_ac.
_END_OF_BLOCK = re.compile(r"^(?:mixed\d+|mixed_\d[a-z]|block\d+_\d+_ac)$")


class BackboneError(ValueError):
    """The network does not exist or has too few blocks; the message names the nearest valid value."""


def names() -> list[str]:
    """Returns the names of the networks in Keras Applications, for example `MobileNetV2`."""
    return sorted(name for name, member in vars(keras.applications).items() if inspect.isfunction(member))


def family(name: str) -> str:
    """Returns the `keras.applications` module of a network, for example `mobilenet_v2`.

    Raises:
        BackboneError: There is no such network.
    """
    if name not in names():
        matches = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        suggestion = f"Did you mean {matches[0]!r}?" if matches else f"Choose one of {', '.join(names())}."
        raise BackboneError(f"There is no backbone {name!r} in Keras Applications. {suggestion}")
    module = inspect.getmodule(getattr(keras.applications, name))
    assert module is not None
    return module.__name__.rpartition(".")[2]


def build(name: str, image_size: int, weights: str | None) -> keras.Model:
    """Builds a network without its classifier, and with the dropout inside its blocks turned off.

    Frozen layers must be deterministic, but Keras runs nested models in training mode during training, even
    if they were called with `training=False`.

    Args:
        name: A network of Keras Applications.
        image_size: Height and width of its input, in pixels.
        weights: None for random weights, `imagenet`, or the path of a weights file, as in Keras.

    Returns:
        A model from scaled pixels, float32 [N, image_size, image_size, 3], to features [N, h, w, channels].

    Raises:
        BackboneError: There is no such network, or it does not support this image size.
    """
    family(name)
    try:
        network: keras.Model = getattr(keras.applications, name)(
            include_top=False, weights=weights, input_shape=(image_size, image_size, 3)
        )
    except ValueError as error:
        reason = " ".join(str(error).split())
        raise BackboneError(
            f"{name} cannot be built for training.image_size {image_size}: {reason}"
        ) from error
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0
    return network


def check(name: str, image_size: int, last_blocks: int) -> keras.Model:
    """Checks that a network can be built and fine-tuned, before the first phase spends hours on it.

    Returns:
        The network, with random weights.

    Raises:
        BackboneError: The network cannot be built, or its last blocks cannot be found.
    """
    network = build(name, image_size, None)
    unfreeze(network, last_blocks)
    return network


def blocks(network: keras.Model) -> list[list[keras.layers.Layer]]:
    """Returns the layers of each block, first block first.

    The layers before the first block (the stem) are omitted; layers between two blocks or after the last one
    belong to the preceding block.

    Raises:
        BackboneError: The layer names do not identify blocks.
    """
    blocks = _blocks_by_last_layer(network.layers) or _blocks_by_name(network.layers)
    if not blocks:
        raise BackboneError(
            f"The layer names of {network.name} do not identify its blocks, so it cannot be fine-tuned: "
            "set training.fine_tuning.epochs to 0."
        )
    return blocks


def last_layers(network: keras.Model, last_blocks: int) -> list[keras.layers.Layer]:
    """Returns the layers of a network's last blocks.

    Args:
        network: The result of `build`.
        last_blocks: Number of blocks, at least 1.

    Raises:
        BackboneError: The network has fewer blocks.
    """
    all_blocks = blocks(network)
    if last_blocks > len(all_blocks):
        raise BackboneError(
            f"training.unfrozen_blocks is {last_blocks}, but {network.name} has {len(all_blocks)} blocks."
        )
    return [layer for block in all_blocks[-last_blocks:] for layer in block]


def unfreeze(network: keras.Model, last_blocks: int) -> None:
    """Makes the last blocks trainable and freezes all other layers.

    Batch normalisation stays frozen, both statistics and scales: with small batches its running statistics
    would drift away from what the pretrained weights expect.

    Args:
        network: The result of `build`.
        last_blocks: Number of blocks; 0 freezes the whole network.

    Raises:
        BackboneError: The network has fewer blocks.
    """
    network.trainable = True
    for layer in network.layers:
        layer.trainable = False
    if last_blocks:
        for layer in last_layers(network, last_blocks):
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)


def _blocks_by_name(layers: list[keras.layers.Layer]) -> list[list[keras.layers.Layer]]:
    blocks: dict[str, list[keras.layers.Layer]] = {}
    current = None
    for layer in layers:
        if match := _IN_BLOCK.match(layer.name):
            current = next(filter(None, match.groups()))
        if current:
            blocks.setdefault(current, []).append(layer)
    return list(blocks.values())


def _blocks_by_last_layer(layers: list[keras.layers.Layer]) -> list[list[keras.layers.Layer]]:
    """Returns the layers between the last layers of blocks, after the stem, which ends with max-pooling."""
    ends = [index + 1 for index, layer in enumerate(layers) if _END_OF_BLOCK.match(layer.name)]
    if not ends:
        return []
    stem = [layer for layer in layers[: ends[0]] if isinstance(layer, keras.layers.MaxPooling2D)]
    edges = sorted({layers.index(stem[-1]) + 1, *ends, len(layers)})
    return [layers[start:end] for start, end in itertools.pairwise(edges)]
