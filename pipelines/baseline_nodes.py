"""Builds the nodes that find the baselines in the metadata store.

Kubeflow Pipelines has no resolvers: there, the nodes are left out, and the tasks that compare find the
baselines in the approval store (`kubeflow/container/baselines.py`).
"""

from __future__ import annotations

from collections.abc import Mapping

from tfx import types
from tfx.dsl.components.common.resolver import Resolver
from tfx.types.standard_artifacts import ModelBlessing

from components.approvals.newest_approved import NewestApproved
from components.approvals.store import IS_BEST_PROPERTY, TRUE
from components.artifacts import DataVerdict
from components.data_gate.component import SOURCE, STATISTICS_ID


def accepted_data(statistics: types.BaseChannel, source: str) -> Resolver:
    """Builds the node whose output `subject` is the last accepted data of this source."""
    return _resolver("AcceptedData", statistics, DataVerdict, STATISTICS_ID, {SOURCE: source})


def blessed_model(model: types.BaseChannel) -> Resolver:
    """Builds the node whose output `subject` is the last blessed model."""
    return _model_resolver("BlessedModel", model, {})


def best_model(model: types.BaseChannel) -> Resolver:
    """Builds the node whose output `subject` is the best blessed model."""
    return _model_resolver("BestModel", model, {IS_BEST_PROPERTY: TRUE})


def _model_resolver(node_id: str, model: types.BaseChannel, where: Mapping[str, str]) -> Resolver:
    # The gate must report a missing model, not ignore it.
    return _resolver(node_id, model, ModelBlessing, "current_model_id", where, include_missing=True)


def _resolver(
    node_id: str,
    candidate: types.BaseChannel,
    approval: type[types.Artifact],
    subject_id_property: str,
    where: Mapping[str, str],
    include_missing: bool = False,
) -> Resolver:
    """Builds a node that finds the last approved artifact other than the candidate.

    An approval has the custom properties `where`, and the id of the approved artifact in another one. With
    `include_missing`, an approved artifact counts even if its files are missing.
    """
    return Resolver(
        strategy_class=NewestApproved,
        config={
            "subject_id_property": subject_id_property,
            "where": dict(where),
            "include_missing": include_missing,
        },
        candidate=candidate,
        subject=types.Channel(type=candidate.type),
        approval=types.Channel(type=approval),
    ).with_id(node_id)
