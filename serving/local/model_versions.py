"""A version's way from its folder into memory and out again.

What to load and unload next is decided as TensorFlow Serving's availability preserving policy does.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.local.servable import Servable, status_of
from serving.local.status import StatusError
from serving.local.warmup import replay

START, LOADING, AVAILABLE, UNLOADING, END = (
    ModelVersionStatus.START,
    ModelVersionStatus.LOADING,
    ModelVersionStatus.AVAILABLE,
    ModelVersionStatus.UNLOADING,
    ModelVersionStatus.END,
)

_MOST = 2**63 - 1

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Version:
    """A version that is, was or will be served.

    Attributes:
        number: Its number.
        folder: Its folder.
        stamp: Tells its files from others that may take their place.
        aspired: Whether it is to be served.
        state: One of the five states of `ModelVersionStatus`.
        error: What the last attempt to load it ended with.
        attempts: How often loading it has failed.
        load_at: When to load it, in seconds of the monotonic clock; endless while that is under way.
        servable: What answers, while it is AVAILABLE.
    """

    number: int
    folder: Path
    stamp: object
    aspired: bool = True
    state: int = START
    error: StatusError | None = None
    attempts: int = 0
    load_at: float = 0.0
    servable: Servable | None = None

    @property
    def new(self) -> bool:
        """Whether it is to be served, and still to be seen if it can be loaded."""
        return self.aspired and self.state in (START, LOADING) and not self.attempts

    def load(self, name: str) -> Servable | StatusError:
        """Loads the version and answers its warm-up requests; returns what is wrong where that fails."""
        started = time.monotonic()
        try:
            servable = Servable(name, self.number, self.folder)
            answered = replay(servable, self.folder)
        except Exception as error:  # TensorFlow's are of many kinds
            return status_of(error)
        seconds = time.monotonic() - started
        _log.info(
            "loaded %s version %d in %.1f s (%d warm-up requests)", name, self.number, seconds, answered
        )
        return servable

    def status(self) -> ModelVersionStatus:
        """Returns what a question for the model's status is answered with."""
        status = ModelVersionStatus(version=self.number, state=self.state)
        status.status.error_code = self.error.code.value[0] if self.error else 0
        status.status.error_message = self.error.message if self.error else ""
        return status


def found(folder: Path) -> dict[int, Path] | None:
    """Returns the versions in a model's folder, which are all entries with a number for a name.

    Where two names are the same number (`7` and `007`), the one later in the alphabet counts.

    Returns:
        Their folders by number; None where the folder is not there, which is taken for a disturbance:
        TensorFlow Serving changes nothing then, whereas of an empty folder it serves nothing.
    """
    try:
        names = sorted(entry.name for entry in folder.iterdir())
    except OSError:
        return None
    return {
        int(name): folder / name
        for name in names
        if name.isascii() and name.isdecimal() and int(name) <= _MOST
    }


def stamp(folder: Path) -> object:
    """Returns what changes when other files take the place of a version's."""
    seen = []
    for path in (folder, folder / "saved_model.pb", folder / "variables", folder / "assets.extra"):
        try:
            status = path.stat()
        except OSError:
            continue
        seen.append((path.name, status.st_ino, status.st_mtime_ns, status.st_size))
    return seen


def to_unload(versions: Iterable[Version]) -> list[Version]:
    """Returns the versions that may go: the last one stays until another can take its place."""
    versions = list(versions)
    leaving = sorted(
        (version for version in versions if not version.aspired and version.state == AVAILABLE),
        key=lambda version: version.number,
    )
    aspired = [version for version in versions if version.aspired]
    if not aspired or any(version.state == AVAILABLE for version in aspired):
        return leaving
    return leaving[:-1]


def to_load(models: Mapping[str, Mapping[int, Version]], now: float) -> tuple[str, Version] | None:
    """Returns the model and version to load next, of each model the newest first; None where none is due."""
    for name, versions in models.items():
        due = [
            version
            for version in versions.values()
            if version.aspired and version.state in (START, LOADING) and version.load_at <= now
        ]
        if due:
            return name, max(due, key=lambda version: version.number)
    return None
