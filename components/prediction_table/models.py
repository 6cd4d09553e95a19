"""Exported models as the table asks them, and which of the earlier ones can be compared with."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import tensorflow as tf
from tfx import types
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from components.prediction_table import columns, perturbations
from components.prediction_table.table import BaselineState, is_probability
from trainer.signatures import EXAMPLES_SIGNATURE

# As components.approvals.component sets them on its copies.
APPROVED_URI, UNREADABLE = "approved_uri", "unreadable"

_CPU = "/CPU:0"

_log = logging.getLogger(__name__)


class Unreadable(Exception):
    """A model cannot be asked; the message is a phrase that says why."""


class ScoringModel:
    """A SavedModel, asked for probabilities on the CPU; threads may share it.

    Args:
        uri: Folder of the Model artifact.
        output: Name of the signature's output with the probability.

    Attributes:
        uri: As given.
        output: As given.
        grey: The answer for a uniformly grey picture; no probability where the training diverged.

    Raises:
        Unreadable: Its folder is gone, TensorFlow cannot load it, or it does not answer for a picture.
    """

    def __init__(self, uri: str, output: str) -> None:
        if not fileio.exists(uri):
            raise Unreadable(f"its folder {uri} is gone")
        self.uri, self.output = uri, output
        try:
            with tf.device(_CPU):
                self._loaded = tf.saved_model.load(path_utils.serving_model_path(uri))
        except Exception as error:  # whatever a torn or foreign SavedModel makes of TensorFlow
            raise Unreadable(f"TensorFlow cannot load it ({_first_line(error)})") from error
        if EXAMPLES_SIGNATURE not in self._loaded.signatures:
            raise Unreadable(f"it has no signature {EXAMPLES_SIGNATURE}")
        self._signature = self._loaded.signatures[EXAMPLES_SIGNATURE]
        if output not in self._signature.structured_outputs:
            raise Unreadable(f"its signature {EXAMPLES_SIGNATURE} has no output {output}")
        try:
            [self.grey] = map(float, self.probabilities([perturbations.record(perturbations.grey())]))
        except Exception as error:
            raise Unreadable(f"it does not answer for a picture ({_first_line(error)})") from error

    def probabilities(self, records: Sequence[bytes]) -> np.ndarray:
        """Returns what the model says.

        Args:
            records: Serialized `tf.Example`s with `image/encoded`, [N].

        Returns:
            float32 [N].
        """
        with tf.device(_CPU):
            answers: np.ndarray = self._signature(examples=tf.constant(records))[self.output].numpy()
        return answers


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def look(
    found: Mapping[str, Sequence[types.Artifact]], output: str
) -> tuple[dict[str, BaselineState], dict[str, ScoringModel]]:
    """Loads the earlier models, each of them once.

    Args:
        found: By `newest` and `best` at most one Model each.
        output: Name of the output with the probability.

    Returns:
        What became of each, and those that can be asked.
    """
    states: dict[str, BaselineState] = {}
    models: dict[str, ScoringModel] = {}
    for name in columns.BASELINES:
        if not found.get(name):
            states[name] = BaselineState("none")
            continue
        [artifact] = found[name]
        twin = next((state for state in states.values() if state.uri == _origin(artifact)), None)
        if twin:
            states[name] = replace(twin, state="same" if twin.state == "compared" else twin.state)
            continue
        try:
            models[name] = _load(artifact, output)
            states[name] = BaselineState("compared", artifact.id, _origin(artifact))
        except Unreadable as error:
            states[name] = BaselineState("unreadable", artifact.id, _origin(artifact), str(error))
            _log.warning(
                "The %s blessed model cannot be compared with: %s (%s).", name, error, _origin(artifact)
            )
    return states, models


def _load(artifact: types.Artifact, output: str) -> ScoringModel:
    reason = artifact.get_string_custom_property(UNREADABLE)
    if reason:
        raise Unreadable(reason)
    model = ScoringModel(artifact.uri, output)
    if not is_probability(model.grey):
        raise Unreadable(f"it answers {model.grey:g} for a grey picture, which is no probability")
    return model


def _origin(artifact: types.Artifact) -> str:
    """Returns where the model was when it was blessed: what is handed on may be a copy of it."""
    return artifact.get_string_custom_property(APPROVED_URI) or artifact.uri
