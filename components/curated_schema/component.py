"""Writes the curated schema, with the run's class names, as an artifact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2
from tfx import types
from tfx.dsl.components.base import base_component, base_executor, executor_spec
from tfx.types import artifact_utils, component_spec, standard_artifacts
from tfx.utils import io_utils

from components import fingerprint
from trainer import features


def load_schema(class_names: Sequence[str]) -> schema_pb2.Schema:
    """Returns the curated schema for the given classes.

    Args:
        class_names: The domain of the class name feature.
    """
    text = Path(__file__).with_name("schema.pbtxt").read_text(encoding="utf-8")
    schema = text_format.Parse(text, schema_pb2.Schema())
    column = next(feature for feature in schema.feature if feature.name == features.CLASS_NAME)
    column.string_domain.value.extend(class_names)
    return schema


class CuratedSchemaSpec(component_spec.ComponentSpec):
    """Parameters and channels of `CuratedSchema`."""

    PARAMETERS: ClassVar[dict[str, Any]] = {
        "class_names": component_spec.ExecutionParameter(type=str),
        "schema_fingerprint": component_spec.ExecutionParameter(type=str),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS: ClassVar[dict[str, Any]] = {
        "schema": component_spec.ChannelParameter(type=standard_artifacts.Schema)
    }


class Executor(base_executor.BaseExecutor):
    """Writes `schema.pbtxt`."""

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Writes the schema with the class names to the output `schema`."""
        schema = load_schema(json.loads(exec_properties["class_names"]))
        folder = artifact_utils.get_single_uri(output_dict["schema"])
        io_utils.write_pbtxt_file(f"{folder}/schema.pbtxt", schema)


class CuratedSchema(base_component.BaseComponent):
    """Provides the curated schema as an artifact.

    Outputs `schema`: a standard Schema.

    Args:
        class_names: The classes; the index is the label.
    """

    SPEC_CLASS = CuratedSchemaSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)

    def __init__(self, class_names: Sequence[str]) -> None:
        # Of the parsed schema, not of the file: a changed comment must not run Transform and Trainer again.
        contents = load_schema(class_names).SerializeToString(deterministic=True)
        super().__init__(
            CuratedSchemaSpec(
                class_names=json.dumps(list(class_names)),
                schema_fingerprint=hashlib.sha256(contents).hexdigest(),
                code_fingerprint=fingerprint.of_code("components.curated_schema.component"),
                schema=types.Channel(type=standard_artifacts.Schema),
            )
        )
