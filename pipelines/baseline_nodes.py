"""What a run is compared with, the same two nodes in two makes: where TFX runs the pipeline, and on Kubeflow.

TFX's own orchestrator asks its metadata store in a resolver. Kubeflow Pipelines has no resolvers: there, a
component is told what was approved last by a task that is put before it when the pipeline is compiled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tfx import types
from tfx.dsl.components.base.base_node import BaseNode
from tfx.dsl.components.common.resolver import Resolver
from tfx.types.standard_artifacts import ModelBlessing

from components.approvals.component import ApprovedBaseline
from components.approvals.store import BEST, YES
from components.approvals.strategy import NewestApproved
from components.artifacts import DataVerdict
from components.data_gate.component import SOURCE, STATISTICS_ID

MODELS: Mapping[str, Mapping[str, str]] = {"BlessedModel": {}, "BestModel": {BEST: YES}}
"""What a model is compared with: id of the node → custom properties that the blessing must have to count."""

MODELS_COUNT_WHERE_GONE = True  # a gate that passed over a lost model would compare with nothing


@dataclass(frozen=True)
class Wanted:
    """What was approved last, other than the candidate; or nothing.

    Attributes:
        node_id: Id of the node that finds it.
        candidate: Channel of this run's own, which is never its own baseline.
        approval: Type of the artifacts that approve others.
        subject_id_property: Their custom property with the id of what they approve.
        where: Custom properties that they must have to count.
        hand_on_missing: Whether what was approved counts also where its files are gone.
    """

    node_id: str
    candidate: types.BaseChannel
    approval: type[types.Artifact]
    subject_id_property: str
    where: Mapping[str, str] = field(default_factory=dict)
    hand_on_missing: bool = False


def accepted_data(statistics: types.BaseChannel, source: str) -> Wanted:
    """Returns how the data that were accepted last are found, from a source of this name."""
    return Wanted("AcceptedData", statistics, DataVerdict, STATISTICS_ID, {SOURCE: source})


def blessed_model(model: types.BaseChannel) -> Wanted:
    """Returns how the model that was blessed last is found."""
    return _model("BlessedModel", model)


def best_model(model: types.BaseChannel) -> Wanted:
    """Returns how the model is found that was better than all before it when it was blessed."""
    return _model("BestModel", model)


def _model(node_id: str, candidate: types.BaseChannel) -> Wanted:
    blessing, of = ModelBlessing, "current_model_id"
    return Wanted(node_id, candidate, blessing, of, MODELS[node_id], MODELS_COUNT_WHERE_GONE)


BaselineMaker = Callable[[Wanted], BaseNode]
"""Makes the node, whose output `subject` is what is wanted."""


def resolver(wanted: Wanted) -> BaseNode:
    """Makes a resolver, which asks the metadata store while the run goes on."""
    return Resolver(
        strategy_class=NewestApproved,
        config={
            "subject_id_property": wanted.subject_id_property,
            "where": dict(wanted.where),
            "hand_on_missing": wanted.hand_on_missing,
        },
        candidate=wanted.candidate,
        subject=types.Channel(type=wanted.candidate.type),
        approval=types.Channel(type=wanted.approval),
    ).with_id(wanted.node_id)


def component(wanted: Wanted) -> BaseNode:
    """Makes a component, whose parameter `approved` pipelines.kubeflow.lookups fills in during the run."""
    return ApprovedBaseline(wanted.candidate, name=wanted.node_id).with_id(wanted.node_id)
