"""Exported models as the table asks them, and what can be wrong with one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from tfx.dsl.io import fileio
from tfx.utils import path_utils

from components.prediction_table import behaviours
from trainer.signatures import EXAMPLES_SIGNATURE

_CPU = "/CPU:0"


class Unreadable(Exception):
    """A model cannot be asked; the message is a phrase that says why."""


class Model:
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
            [self.grey] = map(float, self.probabilities([behaviours.record(behaviours.grey())]))
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
