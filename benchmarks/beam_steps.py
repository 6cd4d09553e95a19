"""Runs the pipeline as `catsdogs run` does, with a Trainer that exports the model without training it.

    python -m benchmarks.beam_steps [--set KEY=VALUE ...]

Ends after the Evaluator, so that the Beam steps run on any number of images without the time of a training.
"""

from __future__ import annotations

import argparse
import sys

from tfx.components.trainer.fn_args_utils import FnArgs
from tfx.orchestration.pipeline import Pipeline

import pipelines.pipeline
from pipelines.local.run import run_locally
from pipelines.local.summary import RunOptions
from pipelines.settings.loading import load
from pipelines.settings.tree import Settings
from trainer import model, signatures, weights
from trainer.training_config import TrainingConfig

_MODULE = "benchmarks.beam_steps"  # not __name__, which is __main__ in the measured process


def build(settings: Settings, override: str = "") -> Pipeline:
    """Builds the whole pipeline with this module's `run_fn`."""
    pipeline = pipelines.pipeline.build(settings, override=override)
    [trainer] = [component for component in pipeline.components if component.id == "Trainer"]
    trainer.exec_properties["run_fn"] = f"{_MODULE}.run_fn"
    return pipeline


def run_fn(fn_args: FnArgs) -> None:
    """Exports the network with an untrained head; called by TFX's Trainer like `trainer.run.run_fn`."""
    custom_config = fn_args.custom_config
    config = TrainingConfig.model_validate(custom_config["training_config"])
    network = model.build(weights.load_backbone(config.backbone, config.image_size, config.weights), config)
    class_names = tuple(custom_config["class_names"])
    signatures.export(
        network, config.image_size, class_names, custom_config["max_pixels"], fn_args.serving_model_dir
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", dest="overrides", action="append", metavar="KEY=VALUE")
    settings = load(overrides=parser.parse_args().overrides)
    sys.exit(run_locally(settings, RunOptions(to_node="Evaluator"), pipeline=f"{_MODULE}:build"))
