"""What this run is compared with: the artifact that was approved last, other than this run's own.

TFX's LatestBlessedModelStrategy takes the newest approved artifact whichever it is. When a run repeats an
earlier one, that is the cached artifact under judgement, which then is compared with itself.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import ml_metadata as mlmd
from tfx import types
from tfx.dsl.components.common import resolver
from tfx.dsl.io import fileio

from components.approvals import ordering

ArtifactLists = dict[str, list[types.Artifact]]

BLESSED = "blessed"


class NewestApproved(resolver.ResolverStrategy):
    """Resolves `subject` and `approval` to the pair that was approved last, or to nothing.

    An approval is an artifact with two custom properties: `blessed` is 1, and one holds the id of the
    artifact that it approves. "Last" is when the approval was last given, be it anew or from the cache, so
    that going back to earlier settings makes those the last ones.

    Use it in a `Resolver` with the inputs `candidate` (a channel of this run), `subject` and `approval`
    (channels of the pipeline's whole past); its outputs have the same names.

    Args:
        subject_id_property: Custom property of the approval that holds the subject's id: `current_model_id`
            of a ModelBlessing, `statistics_id` of a DataVerdict.
        where: Custom properties, with their values, that an approval must have to count.
        hand_on_missing: Whether the last approved subject is handed on also where its files are gone, so that
            what compares with it can say that it is. Else it is passed over for the one approved before.
            Defaults to False.
    """

    def __init__(
        self,
        subject_id_property: str,
        where: Mapping[str, str] | None = None,
        hand_on_missing: bool = False,
    ) -> None:
        self._subject_id_property = subject_id_property
        self._where = where or {}
        self._hand_on_missing = hand_on_missing

    def resolve_artifacts(self, store: mlmd.MetadataStore, input_dict: ArtifactLists) -> ArtifactLists:
        """Returns at most one subject with its approval, and the candidate as it came."""
        candidate = input_dict["candidate"]
        subjects = {artifact.id: artifact for artifact in input_dict["subject"]}
        for artifact in candidate:
            subjects.pop(artifact.id, None)
        approvals = {artifact.id: artifact for artifact in input_dict["approval"] if self._counts(artifact)}
        for approval in (approvals[given] for given in ordering.last_given(store, approvals)):
            subject = subjects.get(approval.get_int_custom_property(self._subject_id_property))
            if subject is None:
                continue
            if self._hand_on_missing or fileio.exists(subject.uri):
                return {"candidate": candidate, "subject": [subject], "approval": [approval]}
            logging.warning(
                "The approved %s %d cannot be compared with, because its files are gone: %s",
                subject.type_name,
                subject.id,
                subject.uri,
            )
        return {"candidate": candidate, "subject": [], "approval": []}

    def _counts(self, approval: types.Artifact) -> bool:
        return approval.get_int_custom_property(BLESSED) == 1 and all(
            approval.get_string_custom_property(name) == value for name, value in self._where.items()
        )
