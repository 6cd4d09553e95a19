"""A step in a pod, as the driver and the launcher of Kubeflow Pipelines start it."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from components import fingerprint
from pipelines.kubeflow.container.entrypoint import CODE

_BUCKET = "minio://mlpipeline/v2/artifacts/catsdogs"
_ids = itertools.count(1)


@dataclass
class Artifact:
    """As ML Metadata keeps it, once the launcher has recorded it.

    Attributes:
        uri: In the object store.
        metadata: What the executor said.
        id: Of ML Metadata.
    """

    uri: str
    metadata: dict[str, Any] = field(default_factory=dict)
    id: int = field(default_factory=lambda: next(_ids))

    def message(self) -> dict[str, Any]:
        """Returns what the driver sends: the type is empty, and the name is the id."""
        added = {"display_name": f"artifact {self.id}", "store_session_info": '{"Provider":"minio"}'}
        return {
            "name": str(self.id),
            "type": {"instanceSchema": ""},
            "uri": self.uri,
            "metadata": {name: _round_trip(value) for name, value in {**self.metadata, **added}.items()},
        }


def _round_trip(value: Any) -> Any:
    if isinstance(value, bool | int):
        return float(value)
    if isinstance(value, list):
        return {"list": value}
    return {"struct": value} if isinstance(value, dict) else value


class Cluster:
    """Object store and state volume of a cluster, in a folder.

    Args:
        folder: Where the launcher's folders are: what lies there has been downloaded.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self._runs = itertools.count(1)

    def local(self, uri: str) -> Path:
        """Returns where the launcher has put an artifact."""
        return self.folder / "minio" / uri.removeprefix("minio://")

    def put(self, name: str, files: Mapping[str, bytes], metadata: dict[str, Any] | None = None) -> Artifact:
        """Returns an artifact with these files."""
        artifact = Artifact(f"{_BUCKET}/earlier/{name}/{next(self._runs)}", metadata or {})
        for path, contents in files.items():
            file = self.local(artifact.uri) / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(contents)
        return artifact

    def message(
        self,
        task: str,
        outputs: Mapping[str, str],
        inputs: Mapping[str, Artifact] | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Returns an ExecutorInput; `outputs` are names and the titles of their types."""
        root = f"{_BUCKET}/run-{next(self._runs)}/{task}/5d1f"
        return {
            "inputs": {
                "parameterValues": dict(parameters or {}),
                "artifacts": {
                    name: {"artifacts": [artifact.message()]} for name, artifact in (inputs or {}).items()
                },
            },
            "outputs": {
                "artifacts": {
                    name: {
                        "artifacts": [{"name": name, "type": {"schemaTitle": title}, "uri": f"{root}/{name}"}]
                    }
                    for name, title in outputs.items()
                },
                "outputFile": str(self.local(root) / "output_metadata.json"),
            },
        }

    def start(
        self, message: Mapping[str, Any], *nodes: str, code: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Runs the entry point to its end; `nodes` are its arguments from the first `--node` on."""
        command = [sys.executable, "-m", "pipelines.kubeflow.container.entrypoint"]
        command += ["--executor_input", json.dumps(message), "--approvals", str(self.state)]
        command += ["--code_fingerprint", code or fingerprint.of_code(*CODE), *nodes]
        environment = {
            **os.environ,
            "CATSDOGS_LAUNCHER_ROOT": str(self.folder),
            "CUDA_VISIBLE_DEVICES": "-1",
        }
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def outputs(self, message: Mapping[str, Any]) -> dict[str, Artifact]:
        """Returns what the launcher records of the ExecutorOutput."""
        output = json.loads(Path(message["outputs"]["outputFile"]).read_text())
        found = {}
        for name, given in message["outputs"]["artifacts"].items():
            artifact = output["artifacts"][name]["artifacts"][0]
            # The launcher refuses any other.
            assert artifact["uri"] == given["artifacts"][0]["uri"]
            found[name] = Artifact(artifact["uri"], artifact.get("metadata", {}))
        return found
