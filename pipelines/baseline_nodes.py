"""Builds the nodes that find the baselines, for TFX's local runner and for Kubeflow Pipelines.

Locally, a Resolver queries the metadata store. Kubeflow Pipelines has no resolvers: there, a lookup task
that the compiler inserts passes the last approval to a component.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tfx import types
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.types.standard_artifacts import ModelBlessing

from components.approvals.component import ApprovedBaseline
from components.approvals.newest_approved import NewestApproved
from components.approvals.store import IS_BEST_PROPERTY, TRUE
from components.artifacts import DataVerdict
from components.data_gate.component import SOURCE, STATISTICS_ID

MODEL_FILTERS: Mapping[str, Mapping[str, str]] = {"BlessedModel": {}, "BestModel": {IS_BEST_PROPERTY: TRUE}}
"""Custom properties that a blessing must have, by the node that finds the baseline model."""

INCLUDE_MISSING_MODELS = True  # the gate must report a missing model, not ignore it


@dataclass(frozen=True)
class BaselineQuery:
    """A query for the last approved artifact other than the candidate.

    Attributes:
        node_id: Id of the node that runs the query.
        candidate: Channel of the artifact of this run, which is never its own baseline.
        approval: Type of the approving artifacts.
        subject_id_property: Custom property of the approval with the id of the approved artifact.
        where: Custom properties that an approval must have.
        include_missing: If True, an approved artifact counts even if its files are missing.
    """

    node_id: str
    candidate: types.BaseChannel
    approval: type[types.Artifact]
    subject_id_property: str
    where: Mapping[str, str] = field(default_factory=dict)
    include_missing: bool = False


def accepted_data(statistics: types.BaseChannel, source: str) -> BaselineQuery:
    """Returns the query for the last accepted data of this source."""
    return BaselineQuery("AcceptedData", statistics, DataVerdict, STATISTICS_ID, {SOURCE: source})


def blessed_model(model: types.BaseChannel) -> BaselineQuery:
    """Returns the query for the last blessed model."""
    return _model("BlessedModel", model)


def best_model(model: types.BaseChannel) -> BaselineQuery:
    """Returns the query for the best blessed model."""
    return _model("BestModel", model)


def _model(node_id: str, candidate: types.BaseChannel) -> BaselineQuery:
    return BaselineQuery(
        node_id,
        candidate,
        ModelBlessing,
        "current_model_id",
        MODEL_FILTERS[node_id],
        INCLUDE_MISSING_MODELS,
    )


MakeBaselineNode = Callable[[BaselineQuery], BaseNode]
"""Builds the node for a query; its output `subject` is the baseline."""


def resolver_node(query: BaselineQuery) -> BaseNode:
    """Builds a Resolver, which queries the metadata store during the run."""
    return Resolver(
        strategy_class=NewestApproved,
        config={
            "subject_id_property": query.subject_id_property,
            "where": dict(query.where),
            "include_missing": query.include_missing,
        },
        candidate=query.candidate,
        subject=types.Channel(type=query.candidate.type),
        approval=types.Channel(type=query.approval),
    ).with_id(query.node_id)


def component_node(query: BaselineQuery) -> BaseNode:
    """Builds a component that gets its parameter `approved` from a lookup task (`kubeflow/lookups.py`)."""
    return ApprovedBaseline(query.candidate, name=query.node_id).with_id(query.node_id)
