"""The last approved artifact as an artifact of this run, for orchestrators without resolvers."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.dsl.io import fileio
from tfx.types import artifact_utils, component_spec
from tfx.types.artifact import PropertyType
from tfx.utils import io_utils

from components.approvals.store import Approval
from components.errors import PipelineError

ABSENT, UNREADABLE = "absent", "unreadable"


class Executor(base_executor.BaseExecutor):
    """Copies the approved files, or says that there are none."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `subject`: files and properties of what was approved, or what became of them.

        Raises:
            PipelineError: The approved files went after they were looked up.
        """
        subject = artifact_utils.get_single_instance(output_dict["subject"])
        if not exec_properties["approved"]:
            logging.info("Nothing has been approved before: there is nothing to compare with.")
            subject.set_int_custom_property(ABSENT, 1)
            return
        approval = Approval.parse(exec_properties["approved"])
        subject.set_string_custom_property("approved_in", approval.id)
        subject.set_string_custom_property("approved_uri", approval.uri)
        if not approval.files:
            reason = f"the copy of its files that was kept as {approval.id} is gone from the volume"
            subject.set_string_custom_property(UNREADABLE, reason)
            logging.warning("%s was approved, and cannot be compared with: %s.", approval.uri, reason)
            return
        if not fileio.exists(approval.files):
            raise PipelineError(
                f"What was approved is not in {approval.files} any more: submit the run again, and it is "
                "looked up anew."
            )
        io_utils.copy_dir(approval.files, subject.uri)
        _set_properties(subject, approval.metadata)
        logging.info("This run is compared with %s, approved in %s.", approval.uri, approval.id)


class ApprovedBaseline(base_component.BaseComponent):
    """Hands on what was approved last, looked up before this step.

    Outputs `subject`, of the candidate's type. Its custom property `approved_in` is the id of the approval,
    so that what was approved anew is compared with anew, and `approved_uri` where it then was; where nothing
    was approved, `absent` is 1 and there are no files; where its files were found to be gone, there are none
    either, and `unreadable` says why, in a phrase.

    Args:
        candidate: Channel of what is going to be compared; an approval of it does not count.
        approved: The Approval as text, or nothing.
        name: Tells it from another one with the same candidate. Kubeflow Pipelines' cache does not ask what a
            task is called, and would hand on the output of one, whichever came last, for both.
    """

    SPEC_CLASS = component_spec.ComponentSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, candidate: types.BaseChannel, approved: str = "", name: str = "") -> None:
        super().__init__(
            _spec_for(candidate.type)(
                candidate=candidate, approved=approved, name=name, subject=types.Channel(type=candidate.type)
            )
        )


def _spec_for(artifact_type: type[types.Artifact]) -> type[component_spec.ComponentSpec]:
    """Returns a specification, as TFX wants the types of channels written down in a class."""

    class BaselineSpec(component_spec.ComponentSpec):
        PARAMETERS: ClassVar[dict[str, Any]] = {
            "approved": component_spec.ExecutionParameter(type=str),
            "name": component_spec.ExecutionParameter(type=str),
        }
        INPUTS: ClassVar[dict[str, Any]] = {"candidate": component_spec.ChannelParameter(type=artifact_type)}
        OUTPUTS: ClassVar[dict[str, Any]] = {"subject": component_spec.ChannelParameter(type=artifact_type)}

    return BaselineSpec


def _set_properties(artifact: types.Artifact, metadata: Mapping[str, Any]) -> None:
    declared = artifact.PROPERTIES or {}
    for name, value in metadata.items():
        if name in declared:
            is_whole = declared[name].type == PropertyType.INT  # Kubeflow Pipelines has no whole numbers
            setattr(artifact, name, int(value) if is_whole else value)
        elif isinstance(value, str):
            artifact.set_string_custom_property(name, value)
        elif isinstance(value, int | float):
            artifact.set_float_custom_property(name, value)
        else:
            artifact.set_json_value_custom_property(name, value)
