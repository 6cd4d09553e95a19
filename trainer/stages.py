"""What each phase trains, and from what: features that are kept, or pictures augmented on the fly."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer import examples, feature_pass, model
from trainer.feature_cache import SHARD_PICTURES, FeatureCache, Split
from trainer.hardware import Hardware
from trainer.training_config import PhaseConfig, TrainingConfig
from trainer.views import Views

_PASS_BATCH = 64  # pictures on one device in the pass
FROZEN, FINE_TUNING = "frozen", "fine-tuning"


class Stage(NamedTuple):
    """One phase, ready to be trained.

    Attributes:
        name: `frozen` or `fine-tuning`.
        settings: Epochs and learning rate.
        unfrozen_blocks: How many of the backbone's last blocks it trains.
        model: What is trained; a part of the network or a wrapping of it, with the network's own layers.
        train: Batches of the model's inputs and labels float32 [N], shuffled anew in each epoch.
        evaluation: The same of `eval`, unchanged and in order.
        cache: Where both come from, if from kept features.
    """

    name: str
    settings: PhaseConfig
    unfrozen_blocks: int
    model: keras.Model
    train: tf.data.Dataset
    evaluation: tf.data.Dataset
    cache: FeatureCache | None = None


class Pictures(NamedTuple):
    """Files of transformed examples.

    Attributes:
        train: What is fitted.
        evaluation: What chooses the epoch that is kept.
    """

    train: list[str]
    evaluation: list[str]


def on_the_fly(
    network: keras.Model, pictures: Pictures, recipe: TrainingConfig, hardware: Hardware
) -> list[Stage]:
    """Returns phases that run the whole network on newly augmented pictures in every epoch.

    Args:
        network: What `trainer.model.build` returned.
        pictures: What it is trained on.
        recipe: How, as `hardware` has scaled it.
        hardware: What shares a step.
    """
    trained = model.with_augmentation(network, recipe)

    def batches(files: list[str], shuffle_seed: int | None) -> tf.data.Dataset:
        stored = examples.pictures(files, recipe.image_size, shuffle_seed)
        batch_size = hardware.whole_batch(recipe.batch_size, int(stored.cardinality()))
        return stored.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    data = batches(pictures.train, recipe.seed), batches(pictures.evaluation, None)
    return [
        Stage(FROZEN, recipe.frozen, 0, trained, *data),
        Stage(FINE_TUNING, recipe.fine_tuning, recipe.unfrozen_blocks, trained, *data),
    ]


def from_features(
    network: keras.Model,
    backbone: keras.Model,
    pictures: Pictures,
    recipe: TrainingConfig,
    hardware: Hardware,
    root: Path,
    made_from: dict[str, Any],
) -> list[Stage]:
    """Returns phases on features, which are made in a pass over all pictures unless they are kept.

    Args:
        network: What `trainer.model.build` returned.
        backbone: The backbone inside it.
        pictures: What it is trained on.
        recipe: How, as `hardware` has scaled it.
        hardware: What works on the pass and shares a step.
        root: Folder of the kept features.
        made_from: What the features depend on beside the recipe, as JSON takes it.

    Raises:
        BackboneError: The backbone cannot be cut before the blocks that fine-tuning trains.
    """
    settings = recipe.feature_cache
    blocks = recipe.unfrozen_blocks if recipe.fine_tuning.epochs else 0
    parts = model.take_apart(network, backbone, blocks)
    shapes = {kind: tuple(tensor.shape[1:]) for kind, tensor in parts.frozen.output.items()}
    depends_on = {
        **made_from,
        **recipe.model_dump(
            mode="json",
            include={"backbone", "weights", "image_size", "augmentation", "seed"},
        ),
        "unfrozen_blocks": blocks,
        "views": settings.views,
        "dtype": settings.dtype,
        "precision": hardware.precision,
        "libraries": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    cache = FeatureCache(root, depends_on, shapes, settings.dtype)
    splits = {}
    extractor = functools.cache(lambda: feature_pass.extractor(parts.frozen, hardware.devices))
    # A power of two, so that a shard is made of whole batches.
    at_once = min(SHARD_PICTURES, _PASS_BATCH << hardware.replicas.bit_length() - 1)
    for name, files, views in (("train", pictures.train, settings.views), ("eval", pictures.evaluation, 1)):
        stored = examples.pictures(files, recipe.image_size)
        splits[name] = Split(name, int(stored.cardinality()), views)
        feature_pass.fill(cache, splits[name], stored, extractor, Views(recipe, views), at_once)

    def batches(kind: str, split: str, shuffle_seed: int | None) -> tf.data.Dataset:
        batch_size = hardware.whole_batch(recipe.batch_size, splits[split].records)
        return cache.batches(kind, splits[split], batch_size, settings.memory_mb, shuffle_seed)

    def data(kind: str) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        return batches(kind, "train", recipe.seed), batches(kind, "eval", None)

    stages = [Stage(FROZEN, recipe.frozen, 0, parts.head, *data(model.POOLED), cache)]
    if parts.tail is not None:
        tail = parts.tail, *data(model.ACTIVATIONS), cache
        stages.append(Stage(FINE_TUNING, recipe.fine_tuning, blocks, *tail))
    return stages
