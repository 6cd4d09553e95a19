"""Fingerprints the images before the cache lookup, so that changed images are ingested again."""

from __future__ import annotations

import json

from tfx.dsl.components.base import base_driver
from tfx.orchestration import metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components.image_example_gen.sources import open_source


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds `data_fingerprint` to the execution properties, which are part of the cache key."""

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)  # the type that TFX checks in a component
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)  # the type that TFX runs

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the `data_fingerprint` property.

        Raises:
            InputError: The source cannot be used.
        """
        properties = execution_info.exec_properties
        source = open_source(json.loads(properties["source"]), json.loads(properties["class_names"]))
        output = driver_output_pb2.DriverOutput()
        output.exec_properties["data_fingerprint"].string_value = source.fingerprint()
        return output
