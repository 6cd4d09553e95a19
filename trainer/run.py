"""The Trainer component's entry: from transformed examples to an exported model."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import keras
from tfx.components.trainer.fn_args_utils import FnArgs

from trainer import examples, hardware, leftovers, model, phases, signatures, stages, weights
from trainer.training_config import TrainingConfig


def run_fn(fn_args: FnArgs) -> None:
    """Trains both phases, keeps their history and exports the model; called by TFX's Trainer.

    Args:
        fn_args: The transformed `train` and `eval` files, the folders for the model and for logs (with the
            history, see `phases.History`), and `custom_config`: `recipe` (fields of TrainingSettings),
            `class_names`, `weights_fingerprint` and `code_fingerprint`, `checkpoint_root`, a folder that
            outlives this execution, for resuming a killed one, and `feature_cache_root`, another one, for
            what later trainings can use again.
    """
    config = fn_args.custom_config
    machine = hardware.detect()
    given = TrainingConfig.model_validate(config["recipe"])
    recipe = machine.scaled(given)
    pictures = stages.Pictures(examples.files(fn_args.train_files), examples.files(fn_args.eval_files))
    digest = examples.digest(pictures)
    checkpoints = Path(config["checkpoint_root"]) / _name(config, digest, machine)
    others = (folder for folder in checkpoints.parent.glob("*") if folder != checkpoints)
    leftovers.discard_unused(others, "checkpoints of another training")
    keras.utils.set_random_seed(recipe.seed)
    with machine.scope():
        backbone = weights.pretrained(recipe.backbone, recipe.image_size, recipe.weights)
        network = model.build(backbone, recipe)
        if recipe.feature_cache.enabled:
            made_from = {
                "pictures": digest,
                "weights": weights.version(recipe.weights) or config["weights_fingerprint"],
                "code": config["code_fingerprint"],
            }
            root = Path(config["feature_cache_root"])
            plan = stages.from_features(network, backbone, pictures, recipe, machine, root, made_from)
        else:
            plan = stages.on_the_fly(network, pictures, recipe, machine)
        logs = Path(fn_args.model_run_dir) / "logs"
        history = phases.train(plan, backbone, recipe.patience, machine.jit, checkpoints, logs)
    history.write(Path(fn_args.model_run_dir))
    signatures.export(network, recipe.image_size, tuple(config["class_names"]), fn_args.serving_model_dir)
    shutil.rmtree(checkpoints, ignore_errors=True)


def _name(config: dict[str, object], digest: str, machine: hardware.Hardware) -> str:
    """Names the training by its inputs, so that only the same training resumes from a checkpoint.

    Another number of devices is another training: its epochs have another number of steps.
    """
    inputs = [config, digest, machine.precision, machine.replicas]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()[:16]
