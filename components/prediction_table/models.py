"""Loads exported models for batch prediction, and the baselines among them."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from components import integrity
from components.prediction_table import columns, perturbations
from components.prediction_table.table import BaselineState, is_probability
from trainer.signatures import EXAMPLES_SIGNATURE

# Custom properties of a baseline from the approval store of Kubeflow runs.
APPROVED_URI, UNREADABLE = "approved_uri", "unreadable"

_CPU = "/CPU:0"

_log = logging.getLogger(__name__)


class UnreadableModel(Exception):
    """A model cannot be loaded or run; the message is the reason as a phrase."""


class ScoringModel:
    """A SavedModel that predicts probabilities on the CPU; thread-safe.

    Args:
        uri: Folder of the Model artifact.
        output: Name of the signature's output with the probability.

    Attributes:
        uri: As given.
        output: As given.
        grey: Prediction for a uniformly grey image; not a probability if the training diverged.

    Raises:
        Unreadable: Its folder is missing, TensorFlow cannot load it, or it cannot predict an image.
    """

    def __init__(self, uri: str, output: str) -> None:
        if not fileio.exists(uri):
            raise UnreadableModel(f"its folder {uri} is missing")
        self.uri, self.output = uri, output
        try:
            with tf.device(_CPU):
                self._loaded = tf.saved_model.load(path_utils.serving_model_path(uri))
        except Exception as error:  # a damaged SavedModel can raise anything
            raise UnreadableModel(f"TensorFlow cannot load it ({_first_line(error)})") from error
        if EXAMPLES_SIGNATURE not in self._loaded.signatures:
            raise UnreadableModel(f"it has no signature {EXAMPLES_SIGNATURE}")
        self._signature = self._loaded.signatures[EXAMPLES_SIGNATURE]
        if output not in self._signature.structured_outputs:
            raise UnreadableModel(f"its signature {EXAMPLES_SIGNATURE} has no output {output}")
        try:
            [self.grey] = map(
                float, self.probabilities([perturbations.to_example(perturbations.grey_image())])
            )
        except Exception as error:
            raise UnreadableModel(f"it cannot predict an image ({_first_line(error)})") from error

    def probabilities(self, records: Sequence[bytes]) -> np.ndarray:
        """Predicts the probability of the second class.

        Args:
            records: Serialized `tf.Example`s with `image/encoded`, [N].

        Returns:
            float32 [N].
        """
        with tf.device(_CPU):
            probabilities: np.ndarray = self._signature(examples=tf.constant(records))[self.output].numpy()
        return probabilities


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load_baselines(
    baselines: Mapping[str, Sequence[types.Artifact]], output: str
) -> tuple[dict[str, BaselineState], dict[str, ScoringModel]]:
    """Loads each baseline once.

    Args:
        baselines: At most one Model each for `newest` and `best`.
        output: Name of the output with the probability.

    Returns:
        The state of each baseline, and the loaded models.
    """
    states: dict[str, BaselineState] = {}
    models: dict[str, ScoringModel] = {}
    for name in columns.BASELINE_COLUMNS:
        if not baselines.get(name):
            states[name] = BaselineState("none")
            continue
        [artifact] = baselines[name]
        same_model = next((state for state in states.values() if state.uri == _origin(artifact)), None)
        if same_model:
            states[name] = replace(
                same_model, state="same" if same_model.state == "compared" else same_model.state
            )
            continue
        try:
            models[name] = _load(artifact, output)
            states[name] = BaselineState("compared", artifact.id, _origin(artifact))
        except UnreadableModel as error:
            states[name] = BaselineState("unreadable", artifact.id, _origin(artifact), str(error))
            _log.warning(
                "The %s blessed model cannot be compared with: %s (%s).", name, error, _origin(artifact)
            )
    return states, models


def _load(artifact: types.Artifact, output: str) -> ScoringModel:
    reason = artifact.get_string_custom_property(UNREADABLE)
    if reason:
        raise UnreadableModel(reason)
    if fileio.exists(artifact.uri) and integrity.is_damaged(artifact.mlmd_artifact):
        raise UnreadableModel("its files have changed since it was trained")
    model = ScoringModel(artifact.uri, output)
    if not is_probability(model.grey):
        raise UnreadableModel(f"it predicts {model.grey:g} for a grey image, which is not a probability")
    return model


def _origin(artifact: types.Artifact) -> str:
    """Returns the URI at which the model was blessed; on Kubeflow its files are a copy."""
    return artifact.get_string_custom_property(APPROVED_URI) or artifact.uri
