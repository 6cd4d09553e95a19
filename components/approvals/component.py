"""Outputs the last approved artifact in this run, for orchestrators without resolvers."""

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
    """Copies the approved files, or marks the output as absent or unreadable."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes `subject`: the files and properties of the approved artifact, or why they are missing.

        Raises:
            PipelineError: The approved files were removed after the lookup task found them.
        """
        subject = artifact_utils.get_single_instance(output_dict["subject"])
        if not exec_properties["approved"]:
            logging.info("There is no earlier approval to compare with.")
            subject.set_int_custom_property(ABSENT, 1)
            return
        approval = Approval.parse(exec_properties["approved"])
        subject.set_string_custom_property("approved_in", approval.id)
        subject.set_string_custom_property("approved_uri", approval.uri)
        if not approval.files:
            reason = f"the copy of its files, {approval.id}, is missing from the volume"
            subject.set_string_custom_property(UNREADABLE, reason)
            logging.warning("The approved %s cannot be read: %s.", approval.uri, reason)
            return
        if not fileio.exists(approval.files):
            raise PipelineError(
                f"The approved files are no longer in {approval.files}: submit the run again to repeat "
                "the lookup."
            )
        io_utils.copy_dir(approval.files, subject.uri)
        _set_properties(subject, approval.metadata)
        logging.info("The baseline is %s, approved in %s.", approval.uri, approval.id)


class ApprovedBaseline(base_component.BaseComponent):
    """Outputs the last approved artifact, which a lookup task found before this task.

    Outputs `subject`, of the candidate's type. Custom properties: `approved_in` is the id of the approval,
    so a new approval causes a new comparison; `approved_uri` is the URI of the artifact when it was
    approved. Without an approval, `absent` is 1 and there are no files. If the approved files are missing,
    `unreadable` is a phrase with the reason.

    Args:
        candidate: Channel of the artifact to compare; approvals of it do not count.
        approved: The Approval as text; empty without one.
        name: Distinguishes two nodes with the same candidate, because the cache key of Kubeflow Pipelines
            does not include the name of the task.
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
    """Returns a specification for the artifact type; TFX requires a class for each."""

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
            is_integer = declared[name].type == PropertyType.INT  # Kubeflow Pipelines has no integers
            setattr(artifact, name, int(value) if is_integer else value)
        elif isinstance(value, str):
            artifact.set_string_custom_property(name, value)
        elif isinstance(value, int | float):
            artifact.set_float_custom_property(name, value)
        else:
            artifact.set_json_value_custom_property(name, value)
