"""Batch normalisation, multiplied into the weights before it: a forward pass on a CPU takes half the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

_FOLDABLE = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
    keras.layers.Dense,
)


def folded(network: keras.Model, dtype: str | None = None) -> keras.Model:
    """Returns a copy of a network for inference that gives the same but for rounding, about 1e-6.

    With its statistics fixed, batch normalisation multiplies every channel by one number and adds another,
    and so may the weights of the layer before it (Jacob et al., "Quantization and Training of Neural Networks
    for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2). TensorFlow itself does so only
    with constant weights, and Keras 3 leaves it two more passes over the activations of each layer.

    Args:
        network: Of Keras's functional kind, as may be those in it. Batch normalisation stays where something
            else than a linear convolution or dense layer comes before it, or where others need that one's
            output as well.
        dtype: What the copy computes in; None means what each layer of the network does.
    """
    pairs = dict(_pairs(network))
    gone = set(pairs.values())
    copies: list[tuple[keras.Operation, keras.Operation]] = []

    def copy(layer: keras.Operation) -> keras.Operation:
        if layer in gone:
            return layer
        changed: dict[str, Any] = {"use_bias": True} if layer in pairs else {}
        if dtype and isinstance(layer, keras.Layer):
            changed["dtype"] = dtype
        copies.append((layer, type(layer).from_config(layer.get_config() | changed)))
        return copies[-1][1]

    def call(layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer in gone else layer(*args, **kwargs)

    made: keras.Model = keras.models.clone_model(
        network, clone_function=copy, call_function=call, recursive=True
    )
    for layer, twin in copies:
        if isinstance(layer, keras.Layer):
            twin.set_weights(_folded(layer, pairs[layer]) if layer in pairs else layer.get_weights())
    return made


def _pairs(network: keras.Model) -> Iterator[tuple[keras.Layer, keras.layers.BatchNormalization]]:
    """Yields layers with the batch normalisation that can be folded into each."""
    # What Keras itself goes through: a layer that is in several models cannot tell its neighbours in one.
    nodes = [node for same_depth in network._nodes_by_depth.values() for node in same_depth]
    made_by = {id(tensor): node.operation for node in nodes for tensor in node.outputs}
    needed = [tensor for node in nodes for tensor in node.input_tensors] + list(network.outputs)
    uses = Counter(map(id, needed))
    calls = Counter(node.operation for node in nodes)
    for node in nodes:
        if isinstance(node.operation, keras.Model) and not isinstance(node.operation, keras.Sequential):
            yield from _pairs(node.operation)
        elif isinstance(node.operation, keras.layers.BatchNormalization):
            [tensor] = node.input_tensors
            before = made_by[id(tensor)]
            alone = uses[id(tensor)] == calls[before] == calls[node.operation] == 1
            if alone and isinstance(before, _FOLDABLE) and before.activation is keras.activations.linear:
                yield before, node.operation


def _folded(layer: keras.Layer, normalisation: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Returns the weights of a layer, bias included, that does what the two did."""
    *kernels, kernel = layer.get_weights()[:-1] if layer.use_bias else layer.get_weights()
    bias = layer.get_weights()[-1] if layer.use_bias else 0.0
    scale = 1 / np.sqrt(np.asarray(normalisation.moving_variance, np.float64) + normalisation.epsilon)
    if normalisation.scale:
        scale *= np.asarray(normalisation.gamma)
    shift = (bias - np.asarray(normalisation.moving_mean)) * scale
    if normalisation.center:
        shift += np.asarray(normalisation.beta)
    # A depthwise kernel has the channels in its last two dimensions, the other kinds in the last one.
    depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return [*kernels, kernel * (scale.reshape(kernel.shape[2:]) if depthwise else scale), shift]
