"""The Trainer component's entry: from transformed examples to an exported model."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from pathlib import Path

import keras
import tensorflow as tf
from tfx.v1.components import FnArgs

from trainer import model, phases, signatures, weights
from trainer.preprocessing import parse_transformed
from trainer.recipe import TrainingSettings

_SHUFFLED_IMAGES = 1024
_CHUNK = 1 << 20  # bytes

_log = logging.getLogger(__name__)


def run_fn(fn_args: FnArgs) -> None:
    """Trains both phases, keeps their history and exports the model; called by TFX's Trainer.

    Args:
        fn_args: The transformed `train` and `eval` files, the folders for the model and for logs (with the
            history, see `trainer.history`), and `custom_config`: `recipe` (fields of TrainingSettings),
            `class_names`, and `checkpoint_root`, a folder that outlives this execution, for resuming a killed
            one.
    """
    _log_devices()
    recipe = TrainingSettings.model_validate(fn_args.custom_config["recipe"])
    keras.utils.set_random_seed(recipe.seed)
    backbone = weights.pretrained(recipe.backbone, recipe.image_size, recipe.weights)
    network = model.build(backbone, recipe)
    checkpoints = Path(fn_args.custom_config["checkpoint_root"]) / _fingerprint(fn_args)
    history = phases.train(
        model.with_augmentation(network, recipe),
        backbone,
        _batches(fn_args.train_files, recipe, shuffled=True),
        _batches(fn_args.eval_files, recipe, shuffled=False),
        recipe,
        checkpoints,
        Path(fn_args.model_run_dir) / "logs",
    )
    history.write(Path(fn_args.model_run_dir))
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

    The contents of the transformed examples count, and not where they are: on Kubeflow, that is another place
    in every run that has to copy them.
    """
    digest = hashlib.sha256(json.dumps(fn_args.custom_config, sort_keys=True).encode())
    for patterns in (fn_args.train_files, fn_args.eval_files):
        digest.update(b"split")
        for path in sorted(file for pattern in patterns for file in tf.io.gfile.glob(pattern)):
            with tf.io.gfile.GFile(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()[:16]


def _log_devices() -> None:
    """Logs what is trained on; a GPU that was asked for and is not seen is worth a warning, not a failure."""
    devices = tf.config.list_physical_devices("GPU")
    found = [
        tf.config.experimental.get_device_details(device).get("device_name", device.name)
        for device in devices
    ]
    asked = int(os.environ.get("CATSDOGS_GPUS", "0"))  # set where the pipeline was compiled with GPUs
    _log.info("Training on %s.", " and ".join(found) or "the CPU: TensorFlow sees no GPU")
    if len(found) < asked:
        _log.warning(
            "%d GPU%s asked for, and TensorFlow sees %d: look whether the node has its driver, and whether "
            "the step runs in the image for GPUs (kubeflow.images.gpu).",
            asked,
            " was" if asked == 1 else "s were",
            len(found),
        )
