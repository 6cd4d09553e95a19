"""`manifest.json`: the origin of a version, its metrics, and the checksum of each file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter

from serving import warmup

NAME = "manifest.json"
SAVED_MODEL = "saved_model.pb"


@dataclasses.dataclass(frozen=True)
class FileInfo:
    """Size and checksum of one file.

    Attributes:
        size: Size in bytes.
        sha256: SHA-256 of the contents, in hexadecimal.
    """

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The contents of a version's `manifest.json`.

    Attributes:
        files: All files except the manifest, by name relative to the version's folder.
        model_name: Name of the served model.
        version: Version number; 0 before it is assigned.
        pushed_at: Time of the push in UTC as ISO 8601; empty before the push.
        run_id: The pipeline run that pushed the version.
        data_fingerprint: Fingerprint of the examples that it was trained and evaluated on.
        code_fingerprints: Fingerprints of the code that produced it, by package.
        tensorflow_version: The TensorFlow version that exported it.
        metrics: The Evaluator's metrics on the `test` split: accuracy, auc, loss, examples.
        signatures: Names of the signatures.
    """

    files: Mapping[str, FileInfo]
    model_name: str = ""
    version: int = 0
    pushed_at: str = ""
    run_id: str | None = None
    data_fingerprint: str | None = None
    code_fingerprints: Mapping[str, str] = dataclasses.field(default_factory=dict)
    tensorflow_version: str | None = None
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    signatures: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Returns the contents of `manifest.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Parses the output of `to_json`; ignores unknown keys.

        Raises:
            ValueError: The text is not a manifest.
        """
        manifest = _MANIFEST.validate_json(text, strict=True)
        if SAVED_MODEL not in manifest.files:
            raise ValueError(f"it does not list {SAVED_MODEL}")
        return manifest


_MANIFEST = TypeAdapter(Manifest)


def checksum_files(folder: Path) -> dict[str, FileInfo]:
    """Returns size and checksum of every file below a folder, except its own `manifest.json`."""
    files = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != NAME:
            files[name] = FileInfo(path.stat().st_size, sha256(path))
    return files


def model_identity(files: Mapping[str, FileInfo]) -> str:
    """Returns one checksum for a model; the warm-up requests do not count."""
    checksums = {name: file.sha256 for name, file in files.items() if name != warmup.REQUESTS_FILE}
    return hashlib.sha256(json.dumps(checksums, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Returns the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
