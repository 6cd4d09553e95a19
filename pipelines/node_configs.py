"""What the pipeline hands to the steps beside their channels, taken from the settings."""

from __future__ import annotations

import os
from typing import Any

from tfx.proto import trainer_pb2, transform_pb2

from components import fingerprint
from components.errors import InputError
from pipelines.settings.tree import Settings
from trainer import backbones, divide_backbone, weights

# Where no picture is decoded, most of the work is to put hundreds of transforms together, and to check their
# types is a fifth of it. Worker threads talk to each other over gRPC, which costs more than it saves.
SMALL_BEAM = ["--direct_running_mode=in_memory", "--direct_num_workers=1", "--no_pipeline_type_check"]


def transform(settings: Settings) -> dict[str, Any]:
    """What is done to `train` and `eval`, what that needs to know, and what the cache must see."""
    code = fingerprint.of_code("components.image_transform", "trainer.preprocessing", "trainer.features")
    return {
        "preprocessing_fn": "trainer.preprocessing.preprocessing_fn",
        "splits_config": transform_pb2.SplitsConfig(analyze=["train"], transform=["train", "eval"]),
        "custom_config": {"image_size": settings.training.image_size, "code_fingerprint": code},
        "disable_statistics": True,
    }


def trainer(settings: Settings) -> dict[str, Any]:
    """What trains on `train` and looks at `eval`, what that needs to know, and what the cache must see.

    Raises:
        InputError: There is no such backbone, it cannot be trained so, or there are no such weights for it.
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
            "checkpoint_root": str(settings.checkpoints_dir),
            "feature_cache_root": str(settings.feature_cache_dir),
            "code_fingerprint": fingerprint.of_code("trainer"),
        },
    }


def beam(settings: Settings) -> list[str]:
    """Local threads. Naming a container image keeps TFX from packing its own source for remote workers."""
    return [
        "--runner=FnApiRunner",
        "--direct_running_mode=multi_threading",
        f"--direct_num_workers={settings.beam.workers or os.cpu_count()}",
        "--sdk_container_image=none",
    ]
