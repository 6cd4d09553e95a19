"""What the manifest of a version tells beside its files, taken from the artifacts that went into it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2
from tfx import types
from tfx.types import artifact_utils

from components import evaluation_metrics, fingerprint
from serving.publication.manifest import SAVED_MODEL, Manifest, files_in

_INIT_OP = "__saved_model_init_op"  # TensorFlow's own, for its loader
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def describe(
    version: Path,
    input_dict: Mapping[str, list[types.Artifact]],
    pushed_uri: str,
    properties: Mapping[str, Any],
    run_id: str | None,
) -> Manifest:
    """Returns the manifest of a version that has no number yet.

    Args:
        version: Folder with all of its files.
        input_dict: The Pusher's inputs.
        pushed_uri: Where the Pusher's output is.
        properties: The Pusher's execution properties.
        run_id: The run's name; None where the orchestrator does not tell.
    """
    saved_model = saved_model_pb2.SavedModel.FromString((version / SAVED_MODEL).read_bytes())
    graph = saved_model.meta_graphs[0]
    evaluation, examples = input_dict.get("evaluation"), input_dict.get("examples")
    metrics = {}
    if evaluation:
        metrics = evaluation_metrics.read(artifact_utils.get_single_uri(evaluation)).whole.short()
    return Manifest(
        files=files_in(version),
        model_name=properties["model_name"],
        run_id=run_id or _run_of_kubeflow(pushed_uri),
        data_fingerprint=(
            fingerprint.of_folder(Path(artifact_utils.get_single_uri(examples))) if examples else None
        ),
        code_fingerprints=json.loads(properties["code_fingerprints"]),
        tensorflow_version=graph.meta_info_def.tensorflow_version or None,
        metrics=metrics,
        signatures=tuple(sorted(set(graph.signature_def) - {_INIT_OP})),
    )


def _run_of_kubeflow(uri: str) -> str | None:
    """Returns the run's id from the address of an output, `<root>/<pipeline>/<run>/<step>/<id>/<name>`."""
    parts = uri.rstrip("/").split("/")
    return parts[-4] if len(parts) > 3 and _UUID.fullmatch(parts[-4]) else None
