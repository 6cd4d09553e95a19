"""TFX's Pusher, made safe for a server that polls the folder and for a push that is killed."""

from __future__ import annotations

import errno
import shutil
import time
import uuid
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor as stock
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils, standard_component_specs
from tfx.utils import proto_utils

from components import leftovers
from components.model_pusher.files import same_files, served_folder
from serving.versions import newest

_STAGING = ".pushing"  # TensorFlow Serving ignores folders whose name is not a number.


class Executor(stock.Executor):
    """Copies beside, then renames: a version appears whole or not at all.

    Versions are Unix seconds, as in TFX, and always above those already there. A model that is being served
    as the newest version is not pushed again. Pushes at the same time do not see each other's copies.
    """

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed; see the stock Pusher for the artifacts and properties."""
        if not input_dict.get(standard_component_specs.MODEL_BLESSING_KEY):
            raise ValueError("There is no blessing, and a model that nobody judged is not pushed.")
        pushed = artifact_utils.get_single_instance(output_dict[standard_component_specs.PUSHED_MODEL_KEY])
        served = served_folder(exec_properties[standard_component_specs.PUSH_DESTINATION_KEY])
        leftovers.sweep(served, _STAGING)
        staging = served / f"{_STAGING}-{uuid.uuid4().hex}"
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(staging))
        )
        try:
            super().Do(
                input_dict,
                output_dict,
                {
                    **exec_properties,
                    standard_component_specs.PUSH_DESTINATION_KEY: proto_utils.proto_to_json(destination),
                },
            )
            if not pushed.get_int_custom_property("pushed"):
                return
            staged = newest(staging)
            assert staged is not None
            version = _publish(staged, served)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        self._MarkPushed(pushed, pushed_destination=str(version), pushed_version=version.name)


def _publish(staged: Path, served: Path) -> Path:
    """Makes a whole copy the newest version, unless that is the same model; returns the newest version."""
    while True:
        serving = newest(served)
        if serving is not None and same_files(staged, serving):
            return serving
        version = served / str(max(int(time.time()), int(serving.name) + 1 if serving else 0))
        try:
            return staged.rename(version)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # else another push took the number
                raise
