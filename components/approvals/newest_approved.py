"""Resolves the baseline: the last approved artifact other than the candidate.

TFX's LatestBlessedModelStrategy may resolve to the candidate itself: when a run repeats an earlier one, the
newest blessed model is the cached candidate.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio

from components import integrity
from components.approvals import approval_order

ArtifactLists = dict[str, list[types.Artifact]]

BLESSED = "blessed"


class NewestApproved(resolver.ResolverStrategy):
    """Resolves `subject` and `approval` to the last approved pair, or to empty lists.

    An approval is an artifact with two custom properties: `blessed` is 1, and one holds the id of the
    artifact that it approves. "Last" means last given, by an execution or from the cache, so
    returning to earlier settings makes their result the baseline again.

    Use it in a `Resolver` with the inputs `candidate` (a channel of this run), `subject` and `approval`
    (channels of all earlier runs); its outputs have the same names.

    Args:
        subject_id_property: Custom property of the approval with the id of the subject: `current_model_id`
            of a ModelBlessing, `statistics_id` of a DataVerdict.
        where: Custom properties that an approval must have.
        include_missing: If True, resolves to the last approved subject even if its files are missing or
            damaged, so that the next node can report it. If False, falls back to the approval before.
            Defaults to False.
    """

    def __init__(
        self,
        subject_id_property: str,
        where: Mapping[str, str] | None = None,
        include_missing: bool = False,
    ) -> None:
        self._subject_id_property = subject_id_property
        self._where = where or {}
        self._include_missing = include_missing

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: ArtifactLists) -> ArtifactLists:
        """Returns the candidate unchanged and at most one subject with its approval."""
        candidate = input_dict["candidate"]
        subjects = {artifact.id: artifact for artifact in input_dict["subject"]}
        for artifact in candidate:
            subjects.pop(artifact.id, None)
        approvals = {
            artifact.id: artifact for artifact in input_dict["approval"] if self._is_approval(artifact)
        }
        for approval_id in approval_order.order_by_last_approval(store, approvals):
            approval = approvals[approval_id]
            subject = subjects.get(approval.get_int_custom_property(self._subject_id_property))
            if subject is None:
                continue
            if self._include_missing or (
                fileio.exists(subject.uri) and not integrity.is_damaged(subject.mlmd_artifact)
            ):
                return {"candidate": candidate, "subject": [subject], "approval": [approval]}
            logging.warning(
                "Skipping the approved %s %d because its files are missing or damaged: %s",
                subject.type_name,
                subject.id,
                subject.uri,
            )
        return {"candidate": candidate, "subject": [], "approval": []}

    def _is_approval(self, approval: types.Artifact) -> bool:
        return approval.get_int_custom_property(BLESSED) == 1 and all(
            approval.get_string_custom_property(name) == value for name, value in self._where.items()
        )
