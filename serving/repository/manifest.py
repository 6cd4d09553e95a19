"""`manifest.json`: where a version comes from, how good it is, and the checksum of each of its files."""

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
class File:
    """One file of a version.

    Attributes:
        size: In bytes.
        sha256: Of the contents, in hexadecimal.
    """

    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What is known of a version.

    Attributes:
        files: All of its files but the manifest, by their names relative to the version's folder.
        model_name: Name of the served model.
        version: Its number; 0 before it has got one.
        pushed_at: When, in UTC and ISO 8601; empty before.
        run_id: The pipeline run that pushed it.
        data_fingerprint: Of the examples that it was trained and judged on.
        code_fingerprints: Of the code that made it, by what the code is.
        tensorflow_version: The one that exported it.
        metrics: The Evaluator's on `test`: accuracy, auc, loss, examples.
        signatures: Names of the signatures.
    """

    files: Mapping[str, File]
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
        """Returns the text of `manifest.json`."""
        return json.dumps(dataclasses.asdict(self), indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Manifest:
        """Reads `to_json` back; names that it does not know are left out.

        Raises:
            ValueError: That is no manifest.
        """
        read = _MANIFEST.validate_json(text, strict=True)
        if SAVED_MODEL not in read.files:
            raise ValueError(f"it has no {SAVED_MODEL}")
        return read


_MANIFEST = TypeAdapter(Manifest)


def files_in(folder: Path) -> dict[str, File]:
    """Returns size and checksum of every file below a folder, of the manifest's own place apart."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != NAME:
            found[name] = File(path.stat().st_size, sha256(path))
    return found


def identity(files: Mapping[str, File]) -> str:
    """Returns one checksum for a model, whatever it is warmed up with."""
    model = {name: file.sha256 for name, file in files.items() if name != warmup.FILE}
    return hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()


def sha256(path: Path) -> str:
    """Returns the checksum of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
