"""Looks at what is served before the cache is asked, so that a model that was replaced is pushed anew."""

from __future__ import annotations

from tfx.dsl.components.base import base_driver
from tfx.orchestration import metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import MODEL_KEY, PUSH_DESTINATION_KEY
from tfx.utils import path_utils

from components.model_pusher.files import same_files, served_folder
from serving.versions import versions


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds `replaced_by` to the execution properties: the newest version, where the model is an older one.

    Without it, going back to earlier settings would find the earlier push in the cache, and leave the model
    that replaced it in its place.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)  # the class TFX asks components for
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)  # the class it runs

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the addition, empty for a model that is served or never was."""
        model = artifact_utils.get_single_instance(execution_info.input_dict[MODEL_KEY])
        model_path = path_utils.serving_model_path(model.uri)
        served = served_folder(execution_info.exec_properties[PUSH_DESTINATION_KEY])
        numbers = versions(served)
        pushed = [number for number in numbers if same_files(model_path, served / str(number))]
        is_replaced = bool(pushed) and pushed[-1] != numbers[-1]
        output = driver_output_pb2.DriverOutput()
        output.exec_properties["replaced_by"].string_value = str(numbers[-1]) if is_replaced else ""
        return output
