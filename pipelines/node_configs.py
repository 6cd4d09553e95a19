"""Builds the arguments of the nodes that are derived from the settings."""

from __future__ import annotations

import os
from typing import Any

from tfx.proto import trainer_pb2, transform_pb2

from components import fingerprint
from components.errors import InputError
from pipelines.beam import arguments
from pipelines.beam.jobs import job_name
from pipelines.settings.tree import Settings
from trainer import backbones, divide_backbone, weights


def transform(settings: Settings) -> dict[str, Any]:
    """Returns the arguments of Transform, including the code fingerprint that its cache key needs."""
    code = fingerprint.of_code("components.image_transform", "trainer.preprocessing", "trainer.features")
    return {
        "preprocessing_fn": "trainer.preprocessing.preprocessing_fn",
        "splits_config": transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        "custom_config": {"image_size": settings.training.image_size, "code_fingerprint": code},
        "disable_statistics": True,
    }


def trainer(settings: Settings) -> dict[str, Any]:
    """Returns the arguments of the Trainer, including the fingerprints that its cache key needs.

    Raises:
        InputError: The backbone is unknown, cannot be trained with these settings, or has no such weights.
    """
    training = settings.training
    try:
        weights.check(training.backbone, training.weights)
        last_blocks = training.unfrozen_blocks if training.fine_tuning.epochs else 0
        network = backbones.check(training.backbone, training.image_size, last_blocks)
        if last_blocks and training.feature_cache.enabled:
            divide_backbone.divide_backbone(network, last_blocks)
    except (weights.WeightsError, backbones.BackboneError) as error:
        raise InputError(str(error)) from None
    weights_file = weights.find_file(training.weights)
    return {
        "run_fn": "trainer.run.run_fn",
        "train_args": trainer_pb2.TrainArgs(splits=["train"]),
        "eval_args": trainer_pb2.EvalArgs(splits=["eval"]),
        "custom_config": {
            "training_config": training.model_dump(mode="json"),
            "weights_fingerprint": fingerprint.of_file(weights_file) if weights_file else None,
            "class_names": settings.data.class_names,
            "max_pixels": settings.serving.max_pixels,
            "checkpoint_root": str(settings.checkpoints_dir),
            "feature_cache_root": str(settings.feature_cache_dir),
            "code_fingerprint": fingerprint.of_code("trainer"),
        },
    }


def beam(settings: Settings, step: str) -> list[str]:
    """Returns the Beam arguments of a step of a local run."""
    threads = settings.beam.workers or os.cpu_count() or 1
    return [*arguments.arguments(settings.beam, step, threads), f"--job_name={job_name(settings, step)}"]
