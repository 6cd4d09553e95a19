"""The Trainer component's entry: from transformed examples to an exported model."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import keras
import tensorflow as tf
from tfx.v1.components import FnArgs

from trainer import model, phases, signatures, weights
from trainer.preprocessing import parse_transformed
from trainer.recipe import TrainingSettings

_SHUFFLED_IMAGES = 1024


def run_fn(fn_args: FnArgs) -> None:
    """Trains both phases and exports the model; called by TFX's Trainer.

    Args:
        fn_args: The transformed `train` and `eval` files, the folders for the model and for logs, and
            `custom_config`: `recipe` (fields of TrainingSettings), `class_names`, and `checkpoint_root`, a
            folder that outlives this execution, for resuming a killed one.
    """
    recipe = TrainingSettings.model_validate(fn_args.custom_config["recipe"])
    keras.utils.set_random_seed(recipe.seed)
    backbone = weights.pretrained(recipe.backbone, recipe.image_size, recipe.weights)
    network = model.build(backbone, recipe)
    checkpoints = Path(fn_args.custom_config["checkpoint_root"]) / _fingerprint(fn_args)
    phases.train(
        model.with_augmentation(network, recipe),
        backbone,
        _batches(fn_args.train_files, recipe, shuffled=True),
        _batches(fn_args.eval_files, recipe, shuffled=False),
        recipe,
        checkpoints,
        Path(fn_args.model_run_dir) / "logs",
    )
    class_names = tuple(fn_args.custom_config["class_names"])
    signatures.export(network, recipe.image_size, class_names, fn_args.serving_model_dir)
    shutil.rmtree(checkpoints, ignore_errors=True)


def _batches(patterns: list[str], recipe: TrainingSettings, *, shuffled: bool) -> tf.data.Dataset:
    """Reads transformed examples as batches of pixels uint8 [N, size, size, 3] and labels float32 [N]."""
    files = sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern))
    images = tf.data.TFRecordDataset(files, num_parallel_reads=tf.data.AUTOTUNE)
    count = sum(1 for _ in images)
    images = images.apply(tf.data.experimental.assert_cardinality(count))
    if shuffled:
        images = images.shuffle(_SHUFFLED_IMAGES, seed=recipe.seed)
    parsed = images.map(
        lambda serialized: parse_transformed(serialized, recipe.image_size),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return parsed.batch(recipe.batch_size).prefetch(tf.data.AUTOTUNE)


def _fingerprint(fn_args: FnArgs) -> str:
    """Names the training by its inputs, so that only the same training resumes from a checkpoint.

    The paths of the transformed examples hold the id of the execution that wrote them, which never recurs.
    """
    inputs = [sorted(fn_args.train_files), sorted(fn_args.eval_files), fn_args.custom_config]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
