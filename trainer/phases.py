"""The two training phases: which layers each trains, on cached features or on augmented images."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer import backbones, datasets, feature_extraction, model
from trainer.augmentation import AugmentedViews
from trainer.datasets import ExampleFiles
from trainer.feature_cache import SHARD_IMAGES, CachedSplit, FeatureCache
from trainer.hardware import Hardware
from trainer.training_config import PhaseConfig, TrainingConfig

_EXTRACTION_BATCH = 64  # images per device
FROZEN, FINE_TUNING = "frozen", "fine-tuning"


class Phase(NamedTuple):
    """One training phase: its model and its data.

    Attributes:
        name: `frozen` or `fine-tuning`.
        config: Epochs and learning rate.
        unfrozen_blocks: Number of the backbone's last blocks that the phase trains.
        model: The model to fit; it shares its layers with the network.
        train: Batches of the model's inputs and labels float32 [N], shuffled anew in each epoch.
        evaluation: The same for `eval`, not augmented, in a fixed order.
        cache: The feature cache that both datasets read; None if they read images.
    """

    name: str
    config: PhaseConfig
    unfrozen_blocks: int
    model: keras.Model
    train: tf.data.Dataset
    evaluation: tf.data.Dataset
    cache: FeatureCache | None = None

    def prepare(self, backbone: keras.Model, jit: bool) -> None:
        """Unfreezes the backbone's last blocks and compiles the model.

        Adam's learning rate falls to zero along half a cosine (Loshchilov and Hutter, "SGDR: Stochastic
        Gradient Descent with Warm Restarts", ICLR 2017, without the restarts).

        Args:
            backbone: The backbone inside the network.
            jit: Whether XLA compiles the training steps, if the layers allow it.
        """
        backbones.unfreeze(backbone, self.unfrozen_blocks)
        steps = self.config.epochs * int(self.train.cardinality())
        schedule = keras.optimizers.schedules.CosineDecay(self.config.learning_rate, steps)
        self.model.compile(
            optimizer=keras.optimizers.Adam(schedule),
            loss=keras.losses.BinaryCrossentropy(),
            metrics=[keras.metrics.BinaryAccuracy(name="accuracy"), keras.metrics.AUC(name="auc")],
            jit_compile="auto" if jit else False,
        )


def image_phases(
    network: keras.Model, files: ExampleFiles, config: TrainingConfig, hardware: Hardware
) -> list[Phase]:
    """Returns phases that run the whole network on newly augmented images in every epoch.

    Args:
        network: The result of `trainer.model.build`.
        files: The transformed examples.
        config: The training config, as scaled by `hardware`.
        hardware: The devices that share each batch.
    """
    augmented = model.add_augmentation(network, config)

    def batches(paths: list[str], shuffle_seed: int | None) -> tf.data.Dataset:
        images = datasets.read_images(paths, config.image_size, shuffle_seed)
        batch_size = hardware.fit_batch_size(config.batch_size, int(images.cardinality()))
        return images.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    data = batches(files.train, config.seed), batches(files.evaluation, None)
    return [
        Phase(FROZEN, config.frozen, 0, augmented, *data),
        Phase(FINE_TUNING, config.fine_tuning, config.unfrozen_blocks, augmented, *data),
    ]


def feature_phases(
    network: keras.Model,
    backbone: keras.Model,
    files: ExampleFiles,
    config: TrainingConfig,
    hardware: Hardware,
    cache_root: Path,
    fingerprints: dict[str, Any],
) -> list[Phase]:
    """Returns phases that train on cached features, after extracting those that the cache lacks.

    Args:
        network: The result of `trainer.model.build`.
        backbone: The backbone inside it.
        files: The transformed examples.
        config: The training config, as scaled by `hardware`.
        hardware: The devices that share the extraction and each training batch.
        cache_root: Folder of all feature caches.
        fingerprints: JSON values on which the features depend in addition to `config`.

    Raises:
        BackboneError: The backbone cannot be divided before the blocks that fine-tuning trains.
    """
    settings = config.feature_cache
    blocks = config.unfrozen_blocks if config.fine_tuning.epochs else 0
    divided = model.divide_network(network, backbone, blocks)
    inputs = {"backbone", "weights", "image_size", "augmentation", "seed"}
    cache_key = {
        **fingerprints,
        **config.model_dump(mode="json", include=inputs),
        "unfrozen_blocks": blocks,
        "views": settings.views,
        "dtype": settings.dtype,
        "precision": hardware.precision,
        "libraries": {"tensorflow": tf.__version__, "keras": keras.__version__},
    }
    shapes = {name: tuple(tensor.shape[1:]) for name, tensor in divided.frozen_part.output.items()}
    cache = FeatureCache(cache_root, cache_key, shapes, settings.dtype)
    splits = {}
    build_extractor = functools.cache(
        lambda: feature_extraction.build_extractor(divided.frozen_part, hardware.devices)
    )
    # A power of two, so that whole batches make up a shard.
    batch_size = min(SHARD_IMAGES, _EXTRACTION_BATCH << hardware.replicas.bit_length() - 1)
    for split, paths, view_count in (("train", files.train, settings.views), ("eval", files.evaluation, 1)):
        images = datasets.read_images(paths, config.image_size)
        splits[split] = CachedSplit(split, int(images.cardinality()), view_count)
        views = AugmentedViews(config, view_count)
        feature_extraction.fill_cache(cache, splits[split], images, build_extractor, views, batch_size)

    def batches(feature: str, split: str, shuffle_seed: int | None) -> tf.data.Dataset:
        batch_size = hardware.fit_batch_size(config.batch_size, splits[split].records)
        return cache.batches(feature, splits[split], batch_size, settings.memory_mb, shuffle_seed)

    def data(feature: str) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        return batches(feature, "train", config.seed), batches(feature, "eval", None)

    phases = [Phase(FROZEN, config.frozen, 0, divided.head, *data(model.POOLED), cache)]
    if divided.trainable_part is not None:
        activations = data(model.ACTIVATIONS)
        phases.append(
            Phase(FINE_TUNING, config.fine_tuning, blocks, divided.trainable_part, *activations, cache)
        )
    return phases
