"""Pretrained networks by name, with their own scaling and their blocks."""

from __future__ import annotations

import difflib
import inspect
import itertools
import re

import keras

# How Keras Applications names the layers of a block: block_13_expand, conv5_block2_1_conv, block6h_se_reduce,
# convnext_tiny_stage_3_block_2_gelu, expanded_conv_10_project, block5_conv3, conv_dw_13, normal_add_1_12, ….
_IN_BLOCK = re.compile(
    r"^(?:.*?_)??(?:"
    r"(conv\d+_block\d+|stage_\d+_block_\d+|expanded_conv(?:_\d+)?|(?<!downsampling_)block_?\d+[a-z]?)(?=_|$)"
    r"|conv_(?:pad|dw|pw)_(\d+)(?=_|$)"
    r"|(?:normal|reduction|adjust)_.*?(stem_\d+|reduce_\d+|\d+)$)"
)
# Inception networks name only the layer that ends a block: mixed10, mixed_6a, block17_20_ac.
_END_OF_BLOCK = re.compile(r"^(?:mixed\d+|mixed_\d[a-z]|block\d+_\d+_ac)$")


class BackboneError(ValueError):
    """The named network or block count is not available; the message names the nearest that is."""


def names() -> list[str]:
    """Returns the networks of Keras Applications, for example `MobileNetV2`."""
    return sorted(name for name, member in vars(keras.applications).items() if inspect.isfunction(member))


def family(name: str) -> str:
    """Returns the module of `keras.applications` that a network lives in, for example `mobilenet_v2`.

    Raises:
        BackboneError: There is no such network.
    """
    if name not in names():
        close = difflib.get_close_matches(name, names(), n=1, cutoff=0.5)
        cure = f"Did you mean {close[0]!r}?" if close else f"Valid are: {', '.join(names())}."
        raise BackboneError(f"There is no backbone {name!r} in Keras Applications. {cure}")
    module = inspect.getmodule(getattr(keras.applications, name))
    assert module is not None
    return module.__name__.rpartition(".")[2]


def build(name: str, image_size: int, weights: str | None) -> keras.Model:
    """Builds a network without its classifier, and without the dropout that some have within their blocks.

    What is frozen must not vary, and a network that is trained calls all its parts as in training, whatever
    they were built with.

    Args:
        name: A network of Keras Applications.
        image_size: Height and width of its input, in pixels.
        weights: What Keras takes: None for random weights, `imagenet`, or the path of a weights file.

    Returns:
        A model from scaled pixels, float32 [N, image_size, image_size, 3], to features [N, h, w, channels].

    Raises:
        BackboneError: There is no such network, or it does not take images of this size.
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
    """Checks that a network can be built and its last blocks be told, before hours go into the first phase.

    Returns:
        The network, with random weights.

    Raises:
        BackboneError: It cannot, or they cannot.
    """
    network = build(name, image_size, None)
    unfreeze(network, last_blocks)
    return network


def blocks(network: keras.Model) -> list[list[keras.layers.Layer]]:
    """Returns the layers of each block, first block first.

    Layers before the first block (the stem) are left out; layers between two blocks or after the last one
    belong to the block before them.

    Raises:
        BackboneError: The layers' names do not tell the blocks.
    """
    found = _ended_blocks(network.layers) or _named_blocks(network.layers)
    if not found:
        raise BackboneError(
            f"The blocks of {network.name} cannot be told from its layers' names: "
            "set training.fine_tuning.epochs to 0."
        )
    return found


def last_layers(network: keras.Model, last_blocks: int) -> list[keras.layers.Layer]:
    """Returns the layers of a network's last blocks.

    Args:
        network: What `build` returned.
        last_blocks: How many blocks, at least 1.

    Raises:
        BackboneError: The network has fewer blocks.
    """
    all_blocks = blocks(network)
    if last_blocks > len(all_blocks):
        raise BackboneError(
            f"training.unfrozen_blocks is {last_blocks}, and {network.name} has {len(all_blocks)} blocks."
        )
    return [layer for block in all_blocks[-last_blocks:] for layer in block]


def unfreeze(network: keras.Model, last_blocks: int) -> None:
    """Makes the last blocks trainable and everything else not.

    Batch normalisation stays frozen, statistics and scales: with small batches its running statistics
    would drift away from what the pretrained weights expect.

    Args:
        network: What `build` returned.
        last_blocks: How many blocks; 0 freezes the whole network.

    Raises:
        BackboneError: The network has fewer blocks.
    """
    network.trainable = True
    for layer in network.layers:
        layer.trainable = False
    if last_blocks:
        for layer in last_layers(network, last_blocks):
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)


def _named_blocks(layers: list[keras.layers.Layer]) -> list[list[keras.layers.Layer]]:
    found: dict[str, list[keras.layers.Layer]] = {}
    current = None
    for layer in layers:
        if match := _IN_BLOCK.match(layer.name):
            current = next(filter(None, match.groups()))
        if current:
            found.setdefault(current, []).append(layer)
    return list(found.values())


def _ended_blocks(layers: list[keras.layers.Layer]) -> list[list[keras.layers.Layer]]:
    """Returns what lies between two ends of blocks, after the stem, which ends with a max-pooling."""
    ends = [index + 1 for index, layer in enumerate(layers) if _END_OF_BLOCK.match(layer.name)]
    if not ends:
        return []
    stem = [layer for layer in layers[: ends[0]] if isinstance(layer, keras.layers.MaxPooling2D)]
    edges = sorted({layers.index(stem[-1]) + 1, *ends, len(layers)})
    return [layers[start:end] for start, end in itertools.pairwise(edges)]
