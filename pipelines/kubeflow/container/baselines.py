"""Finds the baselines of a run in the approval store, and records what the run approves there."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components import fingerprint
from components.approvals.store import (
    IS_BEST_PROPERTY,
    LOOKUP_PROPERTIES,
    SOURCE_PROPERTY,
    TRUE,
    Approval,
    ApprovalStore,
)
from components.errors import PipelineError
from pipelines.kubeflow.container.executor_input import Json, properties
from pipelines.kubeflow.container.paths import Paths

RUN_KEY = "run_key"  # parameter of the tasks that approve
_NO_BASELINE = "none"
_DIGITS = 16  # of a fingerprint in a parameter

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ApprovalKind:
    """A kind of artifact that a node approves.

    Attributes:
        store: Folder of the approval store.
        approved_by: The node; it approves its input if an output has `blessed` = 1.
        subject: Name of that input, and of the candidate among the inputs of a node that compares.
        made_by: The last tasks that determine the artifact; with their producers, they make the run key.
        key: Output of the lookup task with the run key.
    """

    store: str
    approved_by: str
    subject: str
    made_by: str
    key: str


ACCEPTED_DATA = ApprovalKind("accepted-data", "DataGate", "statistics", "StatisticsGen", "data_key")
BLESSED_MODEL = ApprovalKind("blessed-model", "QualityGate", "model", "Trainer", "model_key")
KINDS = (ACCEPTED_DATA, BLESSED_MODEL)


@dataclass(frozen=True)
class Baseline:
    """The newest approved artifact other than the candidate, which a node compares the candidate with.

    Attributes:
        name: Parameter of the node's task that changes whenever the baseline can change.
        node: The node.
        input: Name of the input that takes the baseline.
        kind: What is compared.
        include_missing: Whether an approved artifact counts even if its files are missing.
        same_source: Whether only approvals of data of the same source count.
        is_best: Whether only approvals of models that became the best model count.
    """

    name: str
    node: str
    input: str
    kind: ApprovalKind
    include_missing: bool = True
    same_source: bool = False
    is_best: bool = False

    def where(self, source: str) -> dict[str, str]:
        """Returns the properties that an approval must have, for data of this source."""
        required = {SOURCE_PROPERTY: source} if self.same_source else {}
        return required | ({IS_BEST_PROPERTY: TRUE} if self.is_best else {})


BASELINES = (
    Baseline(
        "accepted_data",
        "DataGate",
        "baseline_statistics",
        ACCEPTED_DATA,
        include_missing=False,
        same_source=True,
    ),
    Baseline("blessed_model", "PredictionTable", "newest", BLESSED_MODEL),
    Baseline("best_model", "PredictionTable", "best", BLESSED_MODEL, is_best=True),
)


def cache_parameter(baseline: Baseline, approvals: Path, source: str, run_key: str) -> str:
    """Returns a text that changes whenever the baseline of a run with this key can change.

    KFP asks its cache before the task runs, when the candidate is not known yet. A run that is repeated has
    the candidate that it approved before, which is therefore left out. If it approved several, because it
    was trained again without the cache, any of them can be the baseline of another, so none is left out. The
    second newest artifact is the baseline if the newest is the candidate itself, approved by another run.

    Args:
        baseline: The baseline.
        approvals: Folder of the approval stores.
        source: Name of the data source.
        run_key: Key of the run.
    """
    newest: dict[str, Approval] = {}
    own = set()
    for approval in ApprovalStore(approvals / baseline.kind.store).newest_first(baseline.where(source)):
        newest.setdefault(approval.contents, approval)
        if approval.run_key == run_key:
            own.add(approval.contents)
    if len(own) == 1:
        del newest[own.pop()]
    subjects = list(newest.values())[:2]
    return ",".join(_identify(baseline, approval) for approval in subjects) or _NO_BASELINE


def _identify(baseline: Baseline, approval: Approval) -> str:
    is_missing = baseline.include_missing and not Path(approval.files).exists()
    return approval.contents[:_DIGITS] + ("-missing" if is_missing else "")


def add_baselines(node: str, inputs: Json, approvals: Path, paths: Paths) -> None:
    """Adds the baselines of a node to its inputs.

    Args:
        node: Id of the node.
        inputs: The inputs of its ExecutorInput.
        approvals: Folder of the approval stores.
        paths: Where artifacts are.

    Raises:
        PipelineError: The candidate or the files of the accepted data no longer exist, or an approval cannot
            be read.
    """
    for baseline in BASELINES:
        if baseline.node != node:
            continue
        candidate = inputs["artifacts"][baseline.kind.subject]["artifacts"][0]
        approval = ApprovalStore(approvals / baseline.kind.store).newest(
            fingerprint.of_folder(paths.local_path(candidate["uri"])),
            baseline.where(inputs["parameterValues"].get("source", "")),
        )
        if approval is None:
            _log.info("The input %s is empty: nothing else was approved before.", baseline.input)
            continue
        artifact: Json = {
            "name": approval.contents,
            "uri": approval.files,
            "metadata": {**approval.metadata, "approved_uri": approval.uri},
        }
        if not Path(approval.files).exists():
            if not baseline.include_missing:
                raise PipelineError(
                    f"The approved files are no longer in {approval.files}: remove the folder "
                    f"{Path(approval.files).parent}, and submit the run again to compare with the approval "
                    "before it."
                )
            reason = f"the copy of its files, {approval.id}, is missing from the volume"
            artifact["metadata"]["unreadable"] = reason
            _log.warning("The approved %s cannot be read: %s.", approval.uri, reason)
        _log.info("The input %s is %s, approved in %s.", baseline.input, approval.uri, approval.id)
        inputs["artifacts"][baseline.input] = {"artifacts": [artifact]}


def check_candidates(inputs: Json, paths: Paths) -> None:
    """Checks that the artifacts which are compared and approved exist; KFP's launcher does not.

    Without its files, an approval of the candidate itself would not be recognised, and the candidate would be
    compared with itself.

    Raises:
        PipelineError: One has no files.
    """
    for kind in KINDS:
        for candidate in inputs["artifacts"].get(kind.subject, {}).get("artifacts", []):
            if not any(path.is_file() for path in paths.local_path(candidate["uri"]).rglob("*")):
                raise PipelineError(
                    f"The artifact {candidate['uri']} of an earlier run was removed from the store, but "
                    "KFP's cache still refers to it: disable life cycle rules that delete artifacts; to "
                    "continue, commit a code change, then make image, compile and submit, because a new "
                    "image has new cache keys."
                )


def record_approval(
    node: str, inputs: Json, outputs: Mapping[str, Any], approvals: Path, paths: Paths
) -> None:
    """Records the approval of an input of the node if one of its outputs has `blessed` = 1.

    Args:
        node: Id of the node.
        inputs: The inputs of its ExecutorInput.
        outputs: The artifacts of its ExecutorOutput.
        approvals: Folder of the approval stores.
        paths: Where artifacts are.

    Raises:
        PipelineError: The approval store is not writable.
    """
    kind = next((kind for kind in KINDS if kind.approved_by == node), None)
    if kind is None:
        return
    reported = [output["artifacts"][0].get("metadata", {}) for output in outputs.values()]
    blessed = next((metadata for metadata in reported if metadata.get("blessed") == 1), None)
    if blessed is None:
        _log.info("Nothing was approved, so nothing is recorded in %s.", kind.store)
        return
    subject = inputs["artifacts"][kind.subject]["artifacts"][0]
    approval = ApprovalStore(approvals / kind.store).record(
        paths.local_path(subject["uri"]),
        subject["uri"],
        properties(subject),
        {name: blessed[name] for name in LOOKUP_PROPERTIES if name in blessed},
        inputs["parameterValues"][RUN_KEY],
    )
    _log.info("Recorded the approval in %s as %s.", kind.store, approval.id)
