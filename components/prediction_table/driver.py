"""Looks at the earlier models before the cache is asked, so that a lost one that is back is compared with."""

from __future__ import annotations

import json
from pathlib import Path

from tfx.dsl.components.base import base_driver
from tfx.orchestration import metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2

from components import fingerprint
from components.prediction_table import columns


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds `baseline_files` to the execution properties: fingerprints of the earlier models as they are now.

    Without it, a table that notes a model as unreadable would be found in the cache when it is put back.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)  # the class TFX asks components for
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)  # the class it runs

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the addition; of a model that is gone, the fingerprint is that of no files."""
        found = {
            name: [
                fingerprint.of_folder(Path(model.uri)) for model in execution_info.input_dict.get(name, [])
            ]
            for name in columns.BASELINES
        }
        output = driver_output_pb2.DriverOutput()
        output.exec_properties["baseline_files"].string_value = json.dumps(found)
        return output
