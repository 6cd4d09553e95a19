"""Divides a backbone into the part that stays frozen and the part that fine-tuning trains."""

from __future__ import annotations

from typing import NamedTuple

import keras

from trainer import backbones


class DividedBackbone(NamedTuple):
    """Two models that share the backbone's layers: training the second one trains the backbone.

    Attributes:
        frozen_part: From scaled pixels, float32 [N, size, size, 3], to activations [N, h, w, c].
        trainable_part: From these activations to the backbone's features.
    """

    frozen_part: keras.Model
    trainable_part: keras.Model


def divide_backbone(backbone: keras.Model, last_blocks: int) -> DividedBackbone:
    """Divides a backbone at the last tensor before its last blocks that all later layers depend on.

    Such a tensor never lies inside a residual, dense or inception block, so `trainable_part` may begin with
    frozen layers.

    Args:
        backbone: The result of `backbones.build`.
        last_blocks: Number of blocks that fine-tuning trains, at least 1.

    Raises:
        BackboneError: The network has fewer blocks, or no single tensor of its frozen layers feeds the rest.
        ValueError: `last_blocks` is 0.
    """
    if last_blocks < 1:
        raise ValueError(f"last_blocks is {last_blocks}, and must be at least 1")
    blocks = backbones.blocks(backbone)
    unfrozen = backbones.last_layers(backbone, last_blocks)
    # The stem alone is too cheap to be worth caching; divide there only if all blocks are trained.
    first = backbone.layers[1] if last_blocks == len(blocks) else blocks[0][0]
    activations = _find_bottleneck(backbone, first, unfrozen)
    if activations is None:
        raise backbones.BackboneError(
            f"{backbone.name} cannot be divided before the last {last_blocks} of its {len(blocks)} blocks, "
            "because no single tensor of its frozen layers feeds the rest: "
            "set training.feature_cache.enabled to false."
        )
    return DividedBackbone(
        keras.Model(backbone.input, activations, name=f"{backbone.name}_frozen_part"),
        keras.Model(activations, backbone.output, name=f"{backbone.name}_trainable_part"),
    )


def _find_bottleneck(
    backbone: keras.Model, first: keras.layers.Layer, unfrozen: list[keras.layers.Layer]
) -> keras.KerasTensor | None:
    """Returns the last tensor between two layers that is the only input of everything after it, if any.

    Walks the nodes in topological order and keeps the set of tensors that later nodes still need: a set of
    one is a bottleneck.

    Args:
        backbone: The network.
        first: The first layer whose output may be the bottleneck.
        unfrozen: The layers that must come after it.
    """
    by_depth = backbone._nodes_by_depth  # what Keras itself runs; `layer.output` of a nested model differs
    nodes = [node for depth in sorted(by_depth, reverse=True) for node in by_depth[depth]]
    last_use = {id(tensor): index for index, node in enumerate(nodes) for tensor in node.input_tensors}
    last_use |= {id(tensor): len(nodes) for tensor in backbone.outputs}
    needed: dict[int, keras.KerasTensor] = {}
    bottleneck, reached_first = None, False
    for index, node in enumerate(nodes):
        if any(node.operation is layer for layer in unfrozen):
            break
        needed |= {id(tensor): tensor for tensor in node.outputs}
        needed = {key: tensor for key, tensor in needed.items() if last_use[key] > index}
        reached_first = reached_first or node.operation is first
        if reached_first and len(needed) == 1:
            (bottleneck,) = needed.values()
    return bottleneck
