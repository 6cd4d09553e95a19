"""The artifact store as a folder, and the pod's folders where the launcher puts what it downloads.

Go: v2/objectstore/object_store.go and config.go, `LocalPathForURI` in v2/component/launcher_v2.go.
"""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import parse_qs

from tests.kubeflow_backend.errors import Refused

_FOLDERS = {"gs://": "gcs", "minio://": "minio", "s3://": "s3"}
_S3_QUERY = {"endpoint", "region", "use_path_style", "disable_https"}  # gocloud's, of those that we may send
_BUCKET = re.compile(r"(^[a-z][a-z0-9]+:///?)([^/?]+)(/[^?]*)?(\?.+)?$")


def local_path(uri: str) -> PurePosixPath | None:
    """Returns where an artifact lies below a pod's root; None for a scheme that the launcher passes over."""
    for scheme, folder in _FOLDERS.items():
        if uri.startswith(scheme):
            return PurePosixPath(folder, uri.removeprefix(scheme))
    return None


def session(root: str) -> dict[str, object]:
    """Returns how the store of a pipeline root is reached, where the cluster sets nothing of its own.

    Raises:
        Refused: It is no URI of a store that KFP knows, or gocloud does not know a name in its query.
    """
    found = _BUCKET.match(root)
    if not found or found[1] not in _FOLDERS:
        raise Refused(f"parse bucket config failed: unrecognized pipeline root format: {root!r}")
    provider = found[1].removesuffix("://")
    known = set() if provider == "gs" else _S3_QUERY
    if unknown := sorted(parse_qs((found[4] or "?")[1:], keep_blank_values=True).keys() - known):
        raise Refused(f"Failed to open bucket {found[2]!r}: unknown query parameter {unknown[0]!r}")
    if provider == "minio" and not found[4]:
        params = {
            "region": "minio",
            "endpoint": "minio-service.kubeflow:9000",
            "disableSSL": "true",
            "fromEnv": "false",
            "maxRetries": "5",
            "secretName": "mlpipeline-minio-artifact",
            "accessKeyKey": "accesskey",
            "secretKeyKey": "secretkey",
        }
        return {"Provider": provider, "Params": params}
    return {"Provider": provider, "Params": {"fromEnv": "true"}}


@dataclass(frozen=True)
class ObjectStore:
    """Buckets in folders: `<folder>/minio/<bucket>/<key>`.

    Attributes:
        folder: Of all of them.
    """

    folder: Path

    def download(self, uri: str, pod: Path) -> None:
        """Copies an artifact into a pod; one without a file leaves nothing there."""
        path = _known(uri)
        source, target = self.folder / path, pod / path
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)

    def upload(self, uri: str, pod: Path, run_root: str) -> bool:
        """Copies an output from a pod; returns whether there was one. Empty folders are not kept.

        Args:
            uri: Of the output, after the step.
            pod: The pod's folder.
            run_root: Below which all outputs of the run lie, without a query.

        Raises:
            Refused: The URI is not below the run's root.
        """
        path = _known(uri)
        if not uri.startswith(run_root) or not uri.removeprefix(run_root).lstrip("/"):
            raise Refused(f"URI {uri!r} does not have expected bucket prefix {run_root!r}")
        source, target = pod / path, self.folder / path
        if not source.exists():
            return False
        for file in [source] if source.is_file() else sorted(source.rglob("*")):
            if not file.is_dir():
                key = target / file.relative_to(source) if file != source else target
                key.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, key)
        return True


def _known(uri: str) -> PurePosixPath:
    path = local_path(uri)
    assert path is not None, uri
    return path
