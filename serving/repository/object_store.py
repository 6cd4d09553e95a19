"""Stores a model repository in an object store, where `models.config` defines what is served.

An object store has no rename. A version is uploaded completely before `models.config` names it. An object
`.incomplete` marks its folder until then, and again while the version is deleted; a marked folder is not a
version. The generation of `models.config` detects concurrent changes.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep

from serving.errors import ServingError
from serving.repository import manifest, models_config
from serving.repository.bucket import NO_GENERATION, Bucket, ObjectChanged, StoredObject
from serving.repository.models_config import ServedVersions
from serving.repository.storage import PushConfig, VersionExists
from serving.repository.versions import ModelVersions, is_version

_INCOMPLETE = ".incomplete"
_STALE_AFTER = timedelta(days=1)  # no push takes that long
_LOAD_SECONDS = 5.0  # servers read models.config every second and then load the versions it adds
_ATTEMPTS = 50


@dataclasses.dataclass(frozen=True)
class _BucketSnapshot:
    """The state of the repository at one time.

    Attributes:
        text: Contents of `models.config`.
        generation: Its generation; NO_GENERATION if it does not exist.
        served: The parsed contents.
        versions: The versions.
        incomplete: For each incomplete version, when its mark was written.
    """

    text: str
    generation: int
    served: ServedVersions
    versions: ModelVersions
    incomplete: Mapping[int, datetime]


class ObjectStorage:
    """Implements `Storage` on Google Cloud Storage.

    Args:
        address: `gs://bucket/folder`; the bucket exists.
        config: Name and base path of the model.

    Raises:
        UsageError: The address does not name a folder in a bucket.
    """

    def __init__(self, address: str, config: PushConfig) -> None:
        self._bucket = Bucket(address)
        self.address = self._bucket.address
        self._config = config

    def versions(self) -> ModelVersions:
        """See `Storage`."""
        return self._snapshot().versions

    def read(self, name: str, number: int | None = None) -> bytes | None:
        """See `Storage`."""
        contents, generation = self._bucket.read(name if number is None else f"{number}/{name}")
        return None if generation == NO_GENERATION else contents

    def sizes(self, number: int) -> dict[str, int]:
        """See `Storage`."""
        return {name: file.size for name, file in self._files(number).items()}

    def sha256(self, number: int, name: str) -> str:
        """See `Storage`; empty, because a checksum would cost a download."""
        return ""

    def append(self, name: str, line: str) -> None:
        """See `Storage`."""
        while True:
            contents, generation = self._bucket.read(name)
            text = contents.decode(errors="replace")
            separator = "" if text.endswith("\n") or not text else "\n"  # after an incomplete line
            try:
                self._bucket.write(name, text + separator + line, generation)
                return
            except ObjectChanged:
                _pause()

    def exclusive(self) -> contextlib.nullcontext[None]:
        """See `Storage`; an object store has no locks."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """See `Storage`."""
        with tempfile.TemporaryDirectory(prefix="catsdogs-push-") as folder:
            yield Path(folder)

    def flush(self, staged: Path) -> None:
        """See `Storage`; uploads are durable already."""

    def add(self, number: int, staged: Path, manifest_text: str) -> None:
        """See `Storage`."""
        try:
            self._bucket.write(f"{number}/{_INCOMPLETE}", "being written\n", NO_GENERATION)
        except ObjectChanged as error:
            raise VersionExists(number) from error
        if self._files(number).keys() != {_INCOMPLETE}:  # another push ended in the meantime
            self._bucket.delete(f"{number}/{_INCOMPLETE}")
            raise VersionExists(number)
        (staged / manifest.NAME).write_text(manifest_text, encoding="utf-8")
        for path in sorted(path for path in staged.rglob("*") if path.is_file()):
            self._bucket.upload(path, f"{number}/{path.relative_to(staged).as_posix()}")

    def update_versions(
        self, transition: Callable[[ModelVersions], ModelVersions]
    ) -> tuple[ModelVersions, ModelVersions]:
        """See `Storage`; calls the transition again after a concurrent change.

        A label moves only after servers had time to load the version: until then they reject the file.
        """
        before: ModelVersions | None = None
        for _ in range(_ATTEMPTS):
            snapshot = self._snapshot()
            before = before or snapshot.versions
            after = transition(snapshot.versions)
            labels = models_config.labels(after)
            loaded = set(labels.values())
            is_last_write = not snapshot.served.labels or loaded <= set(snapshot.served.loaded)
            served = (
                ServedVersions(tuple(sorted(loaded)), labels, after.rolled_back)
                if is_last_write
                else ServedVersions(
                    tuple(sorted(loaded.union(snapshot.served.loaded))),
                    snapshot.served.labels,
                    snapshot.versions.rolled_back,
                )
            )
            text = served.to_text(self._config)
            try:
                if text != snapshot.text:
                    self._bucket.write(models_config.NAME, text, snapshot.generation)
            except ObjectChanged:
                _pause()
                continue
            for number in {*snapshot.served.loaded, *served.loaded} & snapshot.incomplete.keys():
                self._bucket.delete(f"{number}/{_INCOMPLETE}")
            if is_last_write:
                return before, after
            sleep(_LOAD_SECONDS)
        raise ServingError(
            f"{self.address}/{models_config.NAME} was changed by other processes {_ATTEMPTS} times in a "
            "row: repeat the command when they have finished."
        )

    def remove(self, numbers: list[int]) -> list[int]:
        """See `Storage`."""
        if not numbers:
            return []
        for number in numbers:
            self._mark(number)
        served = self._invalidate_snapshots().served.loaded
        removed = [number for number in numbers if number not in served]
        for number in numbers:
            if number in removed:
                self._delete(number)
            else:
                self._bucket.delete(f"{number}/{_INCOMPLETE}")
        return removed

    def remove_stale(self) -> None:
        """See `Storage`; treats every push as another machine's."""
        snapshot = self._snapshot()
        for number, since in snapshot.incomplete.items():
            if number not in snapshot.served.loaded and datetime.now(UTC) - since > _STALE_AFTER:
                self._delete(number)

    def _snapshot(self) -> _BucketSnapshot:
        """Returns the current state of the repository.

        Raises:
            ServingError: The address cannot be used, or `models.config` cannot be read.
        """
        contents, generation = self._bucket.read(models_config.NAME)
        text = contents.decode(errors="replace")
        served = ServedVersions()
        if generation != NO_GENERATION:
            try:
                served = ServedVersions.from_text(text)
            except ValueError as error:
                raise ServingError(
                    f"{self.address}/{models_config.NAME} cannot be read ({error}): restore the "
                    "file that catsdogs wrote, or delete it to serve the newest version."
                ) from error
        objects = self._bucket.list()
        numbers = {int(folder) for name in objects if is_version(folder := name.split("/")[0])}
        incomplete = {
            number: objects[mark].updated
            for number in numbers
            if (mark := f"{number}/{_INCOMPLETE}") in objects
        }
        complete = {
            number for number in numbers - incomplete.keys() if f"{number}/{manifest.SAVED_MODEL}" in objects
        }
        newest = max(served.loaded, default=None)
        live = {
            *served.loaded,
            *(number for number in complete - {*served.rolled_back} if newest is None or number < newest),
        }
        rolled_back = complete.intersection(served.rolled_back) - live
        reserved = numbers.union(served.rolled_back) - live - rolled_back
        return _BucketSnapshot(
            text,
            generation,
            served,
            ModelVersions(tuple(sorted(live)), tuple(sorted(rolled_back)), tuple(sorted(reserved))),
            incomplete,
        )

    def _invalidate_snapshots(self) -> _BucketSnapshot:
        """Rewrites `models.config` unchanged, so that writes based on an older snapshot fail."""
        while True:
            snapshot = self._snapshot()
            try:
                if snapshot.generation != NO_GENERATION:
                    self._bucket.write(models_config.NAME, snapshot.text, snapshot.generation)
                return snapshot
            except ObjectChanged:
                _pause()

    def _mark(self, number: int) -> None:
        with contextlib.suppress(ObjectChanged):  # already marked
            self._bucket.write(f"{number}/{_INCOMPLETE}", "being deleted\n", NO_GENERATION)

    def _delete(self, number: int) -> None:
        self._mark(number)
        for name in self._files(number):
            if name != _INCOMPLETE:
                self._bucket.delete(f"{number}/{name}")
        self._bucket.delete(f"{number}/{_INCOMPLETE}")

    def _files(self, number: int) -> dict[str, StoredObject]:
        objects = self._bucket.list(f"{number}/")
        return {name.partition("/")[2]: file for name, file in objects.items()}


def _pause() -> None:
    sleep(random.uniform(0.1, 1))
