"""The Trainer component's `run_fn`: from transformed examples to an exported model."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import keras
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import datasets, hardware, model, phases, signatures, stale_files, training_loop, weights
from trainer.training_config import TrainingConfig


def run_fn(fn_args: FnArgs) -> None:
    """Trains both phases, writes their history and exports the model; called by TFX's Trainer.

    Args:
        fn_args: The transformed `train` and `eval` files; the folders for the model and for logs (and the
            history, see `training_loop.TrainingHistory`); and `custom_config`: `training_config` (fields of
            TrainingConfig), `class_names`, `max_pixels` of images that the exported model accepts,
            `weights_fingerprint`, `code_fingerprint`, `checkpoint_root` (a folder that outlives this
            execution, to resume a killed one) and `feature_cache_root` (a folder that later trainings share).
    """
    custom_config = fn_args.custom_config
    devices = hardware.detect()
    config = devices.scale_config(TrainingConfig.model_validate(custom_config["training_config"]))
    files = datasets.ExampleFiles(
        datasets.match_files(fn_args.train_files), datasets.match_files(fn_args.eval_files)
    )
    digest = datasets.content_digest(files)
    checkpoints = Path(custom_config["checkpoint_root"]) / _training_id(custom_config, digest, devices)
    others = (folder for folder in checkpoints.parent.glob("*") if folder != checkpoints)
    stale_files.remove_unused(others, "checkpoints of another training")
    keras.utils.set_random_seed(config.seed)
    with devices.scope():
        backbone = weights.load_backbone(config.backbone, config.image_size, config.weights)
        network = model.build(backbone, config)
        if config.feature_cache.enabled:
            fingerprints = {
                "images": digest,
                "weights": weights.package_version(config.weights) or custom_config["weights_fingerprint"],
                "code": custom_config["code_fingerprint"],
            }
            cache_root = Path(custom_config["feature_cache_root"])
            training_phases = phases.feature_phases(
                network, backbone, files, config, devices, cache_root, fingerprints
            )
        else:
            training_phases = phases.image_phases(network, files, config, devices)
        logs = Path(fn_args.model_run_dir) / "logs"
        history = training_loop.train(
            training_phases, backbone, config.patience, devices.jit, checkpoints, logs
        )
    history.write(Path(fn_args.model_run_dir))
    class_names = tuple(custom_config["class_names"])
    signatures.export(
        network, config.image_size, class_names, custom_config["max_pixels"], fn_args.serving_model_dir
    )
    shutil.rmtree(checkpoints, ignore_errors=True)


def _training_id(custom_config: dict[str, object], digest: str, devices: hardware.Hardware) -> str:
    """Returns a hash of all inputs of a training, so that only the same training resumes a checkpoint.

    The number of devices is an input, because it changes the number of steps per epoch.
    """
    inputs = [custom_config, digest, devices.precision, devices.replicas]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
