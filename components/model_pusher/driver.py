"""Looks at what is served before the cache is asked, so that a model that was replaced is pushed anew."""

from __future__ import annotations

from pathlib import Path

from tfx.dsl.components.base import base_driver
from tfx.orchestration import metadata
from tfx.orchestration.portable import base_driver as portable_base_driver
from tfx.orchestration.portable import data_types
from tfx.proto.orchestration import driver_output_pb2
from tfx.types import artifact_utils, standard_artifacts
from tfx.types.standard_component_specs import MODEL_KEY
from tfx.utils import path_utils

from components.model_pusher.destination import place_of, told_by_pipeline
from serving.publication.manifest import files_in, identity
from serving.publication.place import Place, holding


class Driver(base_driver.BaseDriver, portable_base_driver.BaseDriver):
    """Adds `replaced_by` to the execution properties: what is there in place of the model that was pushed.

    Without it, going back to earlier settings would find the earlier push in the cache, and leave the model
    that replaced it in its place; or a version that is damaged or gone as it is.
    """

    def __init__(self, metadata_handle: metadata.Metadata) -> None:
        base_driver.BaseDriver.__init__(self, metadata_handle)  # the class TFX asks components for
        portable_base_driver.BaseDriver.__init__(self, metadata_handle)  # the class it runs

    def run(self, execution_info: data_types.ExecutionInfo) -> driver_output_pb2.DriverOutput:
        """Returns the addition, empty for a model that is served, whole, or never was.

        Raises:
            PipelineError: The place of the versions cannot be read.
        """
        model = artifact_utils.get_single_instance(execution_info.input_dict[MODEL_KEY])
        output = driver_output_pb2.DriverOutput()
        with told_by_pipeline():
            place = place_of(execution_info.exec_properties)
            if place.stock().served is None:
                replaced_by = self._gone(place)
            else:
                replaced_by = _replaced_by(place, Path(path_utils.serving_model_path(model.uri)))
        output.exec_properties["replaced_by"].string_value = replaced_by
        return output

    def _gone(self, place: Place) -> str:
        """Names the last push to a place where nothing is served, so that none is found in the cache."""
        if self._mlmd_connection is None:
            return ""
        with self._mlmd_connection as connection:
            pushes = connection.store.get_artifacts_by_type(standard_artifacts.PushedModel.TYPE_NAME)
        there = [
            push.id
            for push in pushes
            if push.custom_properties["pushed_destination"].string_value.startswith(f"{place.address}/")
        ]
        return f"nothing after push {max(there)}" if there else ""


def _replaced_by(place: Place, model: Path) -> str:
    stock, files = place.stock(), files_in(model)
    assert stock.served is not None
    found = holding(place, stock, files)
    if stock.served in found.live:
        return f"{stock.served}, damaged" if place.damage(stock.served) else ""
    was_pushed = found.known or any(entry.model == identity(files) for entry in place.history())
    if not was_pushed:
        return ""
    newest = stock.known[-1]  # above the served one after a rollback, which makes it another situation
    return str(stock.served) if newest == stock.served else f"{stock.served}, {newest} withdrawn"
