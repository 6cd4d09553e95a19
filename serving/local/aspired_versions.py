"""Versions of a model, and the policy that decides which of them to load and unload next.

The policy is TensorFlow Serving's availability-preserving one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.local.servable import Servable
from serving.local.status import StatusError, to_status_error
from serving.local.warmup import replay_requests
from serving.repository.versions import MAX_VERSION

START, LOADING, AVAILABLE, UNLOADING, END = (
    ModelVersionStatus.START,
    ModelVersionStatus.LOADING,
    ModelVersionStatus.AVAILABLE,
    ModelVersionStatus.UNLOADING,
    ModelVersionStatus.END,
)

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class ServableVersion:
    """A version that is, was or will be served.

    Attributes:
        number: The version number.
        folder: Folder with the SavedModel.
        fingerprint: Changes if other files replace the version's.
        is_aspired: True if the version should be served.
        state: One of the five states of `ModelVersionStatus`.
        error: Error of the last attempt to load it.
        failures: Number of failed attempts to load it.
        load_at: When to load it, in seconds of the monotonic clock; infinite while it is loading.
        servable: The loaded version, while the state is AVAILABLE.
    """

    number: int
    folder: Path
    fingerprint: object
    is_aspired: bool = True
    state: int = START
    error: StatusError | None = None
    failures: int = 0
    load_at: float = 0.0
    servable: Servable | None = None

    @property
    def is_pending(self) -> bool:
        """True until the first attempt to load an aspired version has ended."""
        return self.is_aspired and self.state in (START, LOADING) and not self.failures

    def load(self, name: str) -> Servable | StatusError:
        """Loads the version and replays its warm-up requests; returns the error if either fails."""
        started = time.monotonic()
        try:
            servable = Servable(name, self.number, self.folder)
            replayed = replay_requests(servable, self.folder)
        except Exception as error:  # TensorFlow raises many types
            return to_status_error(error)
        seconds = time.monotonic() - started
        _log.info(
            "loaded %s version %d in %.1f s (%d warm-up requests)", name, self.number, seconds, replayed
        )
        return servable

    def status(self) -> ModelVersionStatus:
        """Returns the version's part of a GetModelStatus response."""
        status = ModelVersionStatus(version=self.number, state=self.state)
        status.status.error_code = self.error.code.value[0] if self.error else 0
        status.status.error_message = self.error.message if self.error else ""
        return status


def list_versions(folder: Path) -> dict[int, Path] | None:
    """Lists the versions in a model's folder: all entries whose name is a number.

    If two names are the same number (`7` and `007`), the one that sorts last wins.

    Returns:
        Their folders by number; None if the model's folder cannot be read. As in TensorFlow Serving, nothing
        changes then, whereas an empty folder unloads all versions.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return None
    return {
        int(name): folder / name
        for name in names
        if name.isascii() and name.isdecimal() and int(name) <= MAX_VERSION
    }


def fingerprint(folder: Path) -> object:
    """Returns a value that changes if other files replace those of a version."""
    stats = []
    for path in (folder, folder / "saved_model.pb", folder / "variables", folder / "assets.extra"):
        try:
            stat = path.stat()
        except OSError:
            continue
        stats.append((path.name, stat.st_ino, stat.st_mtime_ns, stat.st_size))
    return stats


def versions_to_unload(versions: Iterable[ServableVersion]) -> list[ServableVersion]:
    """Returns the versions to unload; the last available one stays until an aspired one is available."""
    versions = list(versions)
    unwanted = sorted(
        (version for version in versions if not version.is_aspired and version.state == AVAILABLE),
        key=lambda version: version.number,
    )
    aspired = [version for version in versions if version.is_aspired]
    if not aspired or any(version.state == AVAILABLE for version in aspired):
        return unwanted
    return unwanted[:-1]


def next_to_load(
    models: Mapping[str, Mapping[int, ServableVersion]], now: float
) -> tuple[str, ServableVersion] | None:
    """Returns the model and version to load next, each model's newest first; None if none is due."""
    for name, versions in models.items():
        due = [
            version
            for version in versions.values()
            if version.is_aspired and version.state in (START, LOADING) and version.load_at <= now
        ]
        if due:
            return name, max(due, key=lambda version: version.number)
    return None
