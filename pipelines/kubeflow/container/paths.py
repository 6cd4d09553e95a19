"""Maps artifact URIs to the local paths that KFP's launcher uses, and back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

_FOLDERS = {"minio://": "minio", "s3://": "s3", "gs://": "gcs"}
_REMOTE = "gs://"  # the only object store that TensorFlow and Beam read directly


@dataclass(frozen=True)
class Paths:
    """Maps artifact URIs to the paths that the executor reads and writes.

    Attributes:
        root: The folder that holds the launcher's `minio`, `s3` and `gcs`.
        keep_remote: Keep `gs://` URIs unchanged, for remote Beam workers.
    """

    root: Path
    keep_remote: bool = False

    @classmethod
    def from_environment(
        cls, environment: Mapping[str, str] = os.environ, *, keep_remote: bool = False
    ) -> Paths:
        """Returns those of this pod; `CATSDOGS_LAUNCHER_ROOT` puts the folders elsewhere, for tests."""
        return cls(Path(environment.get("CATSDOGS_LAUNCHER_ROOT", "/")), keep_remote)

    def local_path(self, uri: str) -> Path:
        """Returns the path where the launcher downloads an input or reads an output; other URIs are paths."""
        for scheme, folder in _FOLDERS.items():
            if uri.startswith(scheme):
                return self.root / folder / uri.removeprefix(scheme)
        return Path(uri)

    def executor_path(self, uri: str) -> str:
        """Returns the path or URI that the executor reads or writes."""
        return uri if self.keep_remote and uri.startswith(_REMOTE) else str(self.local_path(uri))

    def to_uri(self, path: str) -> str:
        """Returns the URI of a path from `executor_path`; returns other strings unchanged."""
        for scheme, folder in _FOLDERS.items():
            prefix = f"{self.root / folder}/"
            if path.startswith(prefix):
                return scheme + path.removeprefix(prefix)
        return path
