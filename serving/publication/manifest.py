"""`manifest.json`: where a version comes from, how good it is, and the checksum of each of its files."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "manifest.json"
WARMUP = "assets.extra/tf_serving_warmup_requests"  # where TensorFlow Serving looks for them
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
        try:
            fields: dict[str, Any] = json.loads(text)
            json.dumps(fields, ensure_ascii=False).encode()  # half a character could not be printed
            files = {name: File(**file) for name, file in fields.pop("files").items()}
            known = {field.name for field in dataclasses.fields(cls)}
            given = {name: value for name, value in fields.items() if name in known}
            read = cls(files=files, **{**given, "signatures": tuple(given.get("signatures", ()))})
        except (AttributeError, KeyError, RecursionError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        _check(read)
        return read


def _check(read: Manifest) -> None:
    """Raises ValueError where what was read of a manifest is not what belongs there."""
    texts = (read.run_id, read.data_fingerprint, read.tensorflow_version)
    fits = (
        SAVED_MODEL in read.files
        and all(type(file.size) is int and isinstance(file.sha256, str) for file in read.files.values())
        and type(read.version) is int
        and all(isinstance(text, str) for text in (read.model_name, read.pushed_at, *read.signatures))
        and all(text is None or isinstance(text, str) for text in texts)
        and _are(str, read.code_fingerprints)
        and _are((int, float), read.metrics)
    )
    if not fits:
        raise ValueError(f"it has no {SAVED_MODEL}, or a value of a kind that does not belong there")


def _are(kind: type | tuple[type, ...], values: object) -> bool:
    return isinstance(values, dict) and all(isinstance(value, kind) for value in values.values())


def files_in(folder: Path) -> dict[str, File]:
    """Returns size and checksum of every file below a folder, of the manifest's own place apart."""
    found = {}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != NAME:
            found[name] = File(path.stat().st_size, _sha256(path))
    return found


def identity(files: Mapping[str, File]) -> str:
    """Returns one checksum for a model, whatever it is warmed up with."""
    model = {name: file.sha256 for name, file in files.items() if name != WARMUP}
    return hashlib.sha256(json.dumps(model, sort_keys=True).encode()).hexdigest()


def damage(folder: Path, manifest: Manifest | None) -> str | None:
    """Says what of a version is not as it was pushed.

    Args:
        folder: The version's.
        manifest: Its manifest; None for a version of a release that wrote none, of which only the graph is
            looked for.

    Returns:
        The first file that is missing or changed, in words; None where all are as they were.
    """
    if manifest is None:
        return None if (folder / SAVED_MODEL).is_file() else f"{SAVED_MODEL} is missing"
    for name, pushed in manifest.files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != pushed.size:
            return f"{name} has {path.stat().st_size:,} bytes and was pushed with {pushed.size:,}"
        if _sha256(path) != pushed.sha256:
            return f"{name} has changed since it was pushed"
    return None


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
