"""Where a network is cut: what stays frozen goes before, what fine-tuning trains behind."""

from __future__ import annotations

from typing import NamedTuple

import keras

from trainer import backbones


class Cut(NamedTuple):
    """A backbone in two, which share its layers: training the suffix trains the backbone.

    Attributes:
        prefix: From scaled pixels, float32 [N, size, size, 3], to the activations at the cut, [N, h, w, c].
        suffix: From these to the backbone's features.
    """

    prefix: keras.Model
    suffix: keras.Model


def before_last_blocks(backbone: keras.Model, last_blocks: int) -> Cut:
    """Cuts a backbone at the last place before its last blocks where one tensor carries everything on.

    Such a place is never inside a residual, dense or inception block. The suffix may begin with frozen
    layers.

    Args:
        backbone: What `backbones.build` returned.
        last_blocks: How many blocks lie behind the cut, at least 1: where nothing is unfrozen, the whole
            backbone is what a prefix would be, and there is nothing to cut.

    Raises:
        BackboneError: The network has fewer blocks, or there is no such place among its frozen ones.
        ValueError: `last_blocks` is 0.
    """
    if last_blocks < 1:
        raise ValueError(f"last_blocks is {last_blocks}, and must be at least 1")
    blocks = backbones.blocks(backbone)
    unfrozen = backbones.last_layers(backbone, last_blocks)
    # A cut in the stem keeps nothing worth keeping; it is taken only where all blocks are to be trained.
    first = backbone.layers[1] if last_blocks == len(blocks) else blocks[0][0]
    activations = _narrow(backbone, first, unfrozen)
    if activations is None:
        raise backbones.BackboneError(
            f"Nowhere before the last {last_blocks} of the {len(blocks)} blocks of {backbone.name} does one "
            "tensor of frozen layers carry everything on, to be kept: "
            "set training.feature_cache.enabled to false."
        )
    return Cut(
        keras.Model(backbone.input, activations, name=f"{backbone.name}_prefix"),
        keras.Model(activations, backbone.output, name=f"{backbone.name}_suffix"),
    )


def _narrow(
    backbone: keras.Model, first: keras.layers.Layer, unfrozen: list[keras.layers.Layer]
) -> keras.KerasTensor | None:
    """Returns the last tensor between two layers that everything behind it depends on alone, if there is one.

    The nodes are gone through in an order in which each comes after those it depends on. Where only one of
    the tensors made so far is still needed, it carries everything on.

    Args:
        backbone: The network.
        first: The first layer that may make the tensor.
        unfrozen: The layers that must come after it.
    """
    by_depth = backbone._nodes_by_depth  # what Keras itself runs; a nested model's layer.output is another's
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    last_use = {id(tensor): index for index, node in enumerate(nodes) for tensor in node.input_tensors}
    last_use |= {id(tensor): len(nodes) for tensor in backbone.outputs}
    needed: dict[int, keras.KerasTensor] = {}
    found, begun = None, False
    for index, node in enumerate(nodes):
        if any(node.operation is layer for layer in unfrozen):
            break
        needed |= {id(tensor): tensor for tensor in node.outputs}
        needed = {key: tensor for key, tensor in needed.items() if last_use[key] > index}
        begun = begun or node.operation is first
        if begun and len(needed) == 1:
            (found,) = needed.values()
    return found
