"""Which of the earlier models can be compared with, and what is wrong with the others."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tfx import types

from components.prediction_table import columns
from components.prediction_table.models import Model, Unreadable
from components.prediction_table.table import BaselineState, is_probability

# As components.approved_baseline.component sets them on its copies.
APPROVED_URI, UNREADABLE = "approved_uri", "unreadable"

_log = logging.getLogger(__name__)


def look(
    found: Mapping[str, Sequence[types.Artifact]], output: str
) -> tuple[dict[str, BaselineState], dict[str, Model]]:
    """Loads the earlier models, each of them once.

    Args:
        found: By `newest` and `best` at most one Model each.
        output: Name of the output with the probability.

    Returns:
        What became of each, and those that can be asked.
    """
    states: dict[str, BaselineState] = {}
    models: dict[str, Model] = {}
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


def _load(artifact: types.Artifact, output: str) -> Model:
    reason = artifact.get_string_custom_property(UNREADABLE)
    if reason:
        raise Unreadable(reason)
    model = Model(artifact.uri, output)
    if not is_probability(model.grey):
        raise Unreadable(f"it answers {model.grey:g} for a grey picture, which is no probability")
    return model


def _origin(artifact: types.Artifact) -> str:
    """Returns where the model was when it was blessed: what is handed on may be a copy of it."""
    return artifact.get_string_custom_property(APPROVED_URI) or artifact.uri
