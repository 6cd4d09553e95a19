"""Where the launcher of Kubeflow Pipelines puts the artifacts of an object store, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FOLDERS = {"minio://": "minio", "s3://": "s3", "gs://": "gcs"}
_REMOTE = "gs://"  # the one kind of store that TensorFlow and Beam read by themselves


@dataclass(frozen=True)
class Paths:
    """Maps artifact URIs to what the executor is given.

    Attributes:
        root: The folder that holds the launcher's `minio`, `s3` and `gcs`.
        keep_remote: Whether `gs://` stays as it is, for Beam workers on other machines.
    """

    root: Path
    keep_remote: bool = False

    @classmethod
    def of_launcher(cls, environment: Mapping[str, str] = os.environ, *, keep_remote: bool = False) -> Paths:
        """Returns those of this pod; `CATSDOGS_LAUNCHER_ROOT` puts the folders elsewhere, for tests."""
        return cls(Path(environment.get("CATSDOGS_LAUNCHER_ROOT", "/")), keep_remote)

    def downloaded(self, uri: str) -> Path:
        """Returns where the launcher puts an input, and takes an output from; other URIs are paths."""
        for scheme, folder in _FOLDERS.items():
            if uri.startswith(scheme):
                return self.root / folder / uri.removeprefix(scheme)
        return Path(uri)

    def for_executor(self, uri: str) -> str:
        """Returns what the executor reads or writes."""
        return uri if self.keep_remote and uri.startswith(_REMOTE) else str(self.downloaded(uri))

    def for_store(self, path: str) -> str:
        """Returns the URI of what `for_executor` returned; other texts stay as they are."""
        for scheme, folder in _FOLDERS.items():
            prefix = f"{self.root / folder}/"
            if path.startswith(prefix):
                return scheme + path.removeprefix(prefix)
        return path
