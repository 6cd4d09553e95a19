"""TFX's Pusher, for a place in which versions appear whole or not at all."""

from __future__ import annotations

import logging
import posixpath
from pathlib import Path
from typing import Any

from tfx import types
from tfx.components.pusher import executor as stock
from tfx.dsl.io import fileio
from tfx.types import artifact_utils
from tfx.types.standard_component_specs import INFRA_BLESSING_KEY, MODEL_BLESSING_KEY, PUSHED_MODEL_KEY
from tfx.utils import io_utils

from components.model_pusher.description import describe
from components.model_pusher.destination import place_of, told_by_pipeline
from serving.publication.manifest import WARMUP
from serving.publication.place import RolledBack

_log = logging.getLogger(__name__)


class Executor(stock.Executor):
    """Lays a version down beside the others, and has it published.

    Versions are Unix seconds, as in TFX, and always above those already there. A model that is being served
    as the newest version is not pushed again, and neither is one that was rolled back.
    """

    def Do(  # noqa: N802
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """Pushes the model if it is blessed; see the component for the artifacts and properties.

        Raises:
            InputError: The destination does not fit.
            PipelineError: It cannot be used now.
            OSError: It cannot be written.
        """
        if not input_dict.get(MODEL_BLESSING_KEY):
            raise ValueError("There is no blessing, and a model that nobody judged is not pushed.")
        pushed = artifact_utils.get_single_instance(output_dict[PUSHED_MODEL_KEY])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed)
            return
        model = self.GetModelPath(input_dict)
        with told_by_pipeline():
            place = place_of(exec_properties)
            with place.staging() as staging:
                version = staging / "version"
                io_utils.copy_dir(model, str(version))
                _add_warmup(input_dict, version)
                run_id = self._context.pipeline_run_id if self._context else None
                described = describe(version, input_dict, pushed.uri, exec_properties, run_id)
                try:
                    number = place.publish(version, described)
                except RolledBack as found:
                    self._refuse(pushed, found.version)
                    return
        _log.info("Version %d is the newest in %s.", number, place.address)
        io_utils.copy_dir(model, pushed.uri)
        self._MarkPushed(pushed, pushed_destination=f"{place.address}/{number}", pushed_version=str(number))

    def _refuse(self, pushed: types.Artifact, withdrawn: int) -> None:
        reason = (
            f"This model was version {withdrawn}, which was rolled back, and so it is not pushed again: "
            f"catsdogs rollback {withdrawn} brings it back."
        )
        _log.warning(reason)
        self._MarkNotPushed(pushed)
        pushed.set_string_custom_property("withdrawn_version", str(withdrawn))
        pushed.set_string_custom_property("reason", reason)


def _add_warmup(input_dict: dict[str, list[types.Artifact]], version: Path) -> None:
    """Adds the requests with which a server warms up, where the check of the model has made some."""
    if not input_dict.get(INFRA_BLESSING_KEY):
        return
    made = posixpath.join(
        artifact_utils.get_single_uri(input_dict[INFRA_BLESSING_KEY]), posixpath.basename(WARMUP)
    )
    if fileio.exists(made):
        (version / WARMUP).parent.mkdir(exist_ok=True)
        io_utils.copy_file(made, str(version / WARMUP))
