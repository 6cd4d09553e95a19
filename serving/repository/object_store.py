"""A model repository in an object store: it cannot rename, and so `models.config` says what is served.

A version is uploaded whole before that file names it. An object `.incomplete` in its folder marks it from the
first file to the naming, and again from the first deletion to the last; such a folder counts as no version.
Changes at the same time are told apart by the generation of the file.
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
from serving.repository.models_config import ServedVersions
from serving.repository.objects import NONE, Changed, Object, Objects
from serving.repository.storage import NumberTaken, PushConfig
from serving.repository.versions import ModelVersions, is_version

_INCOMPLETE = ".incomplete"
_OLD = timedelta(days=1)  # no push takes that long
_SETTLED = 5.0  # seconds; servers read models.config every second, and load a version that it names anew
_ATTEMPTS = 50


@dataclasses.dataclass(frozen=True)
class _Snapshot:
    """What there is at one time.

    Attributes:
        text: Of `models.config`, and
        generation: its generation; NONE where there is none.
        served: What it says.
        versions: The versions.
        incomplete: When the mark of each incomplete one was written.
    """

    text: str
    generation: int
    served: ServedVersions
    versions: ModelVersions
    incomplete: Mapping[int, datetime]


class ObjectStore:
    """See `Storage` for the methods.

    Args:
        address: `gs://bucket/folder`; the bucket exists.
        config: Name and base path of the model.

    Raises:
        UsageError: The address names no folder of a bucket.
    """

    def __init__(self, address: str, config: PushConfig) -> None:
        self._objects = Objects(address)
        self.address = self._objects.address
        self._config = config

    def versions(self) -> ModelVersions:
        """See `Storage`."""
        return self._snapshot().versions

    def read(self, name: str, number: int | None = None) -> bytes | None:
        """See `Storage`."""
        contents, generation = self._objects.read(name if number is None else f"{number}/{name}")
        return None if generation == NONE else contents

    def sizes(self, number: int) -> dict[str, int]:
        """See `Storage`."""
        return {name: found.size for name, found in self._listed(number).items()}

    def sha256(self, number: int, name: str) -> str:
        """See `Storage`; it is not worth a download."""
        return ""

    def append(self, name: str, line: str) -> None:
        """See `Storage`."""
        while True:
            contents, generation = self._objects.read(name)
            try:
                self._objects.write(name, contents.decode(errors="replace") + line, generation)
                return
            except Changed:
                _pause()

    def exclusive(self) -> contextlib.nullcontext[None]:
        """See `Storage`; nobody can be kept out here."""
        return contextlib.nullcontext()

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """See `Storage`."""
        with tempfile.TemporaryDirectory(prefix="catsdogs-push-") as folder:
            yield Path(folder)

    def flush(self, staged: Path) -> None:
        """See `Storage`; what is uploaded is safe."""

    def add(self, number: int, staged: Path, manifest_text: str) -> None:
        """See `Storage`."""
        try:
            self._objects.write(f"{number}/{_INCOMPLETE}", "being written\n", NONE)
        except Changed as error:
            raise NumberTaken(number) from error
        if self._listed(number).keys() != {_INCOMPLETE}:  # somebody else's push has ended meanwhile
            self._objects.delete(f"{number}/{_INCOMPLETE}")
            raise NumberTaken(number)
        (staged / manifest.NAME).write_text(manifest_text, encoding="utf-8")
        for path in sorted(path for path in staged.rglob("*") if path.is_file()):
            self._objects.upload(path, f"{number}/{path.relative_to(staged).as_posix()}")

    def change(
        self, transition: Callable[[ModelVersions], ModelVersions]
    ) -> tuple[ModelVersions, ModelVersions]:
        """See `Storage`; the transition is called again whenever somebody else was faster.

        A label moves to a version only after servers had the time to load it: they refuse the file before.
        """
        before: ModelVersions | None = None
        for _ in range(_ATTEMPTS):
            found = self._snapshot()
            before = before or found.versions
            after = transition(found.versions)
            labels = models_config.labels(after)
            loaded = set(labels.values())
            is_last = not found.served.labels or loaded <= set(found.served.loaded)
            wanted = (
                ServedVersions(tuple(sorted(loaded)), labels, after.withdrawn)
                if is_last
                else ServedVersions(
                    tuple(sorted(loaded.union(found.served.loaded))),
                    found.served.labels,
                    found.versions.withdrawn,
                )
            )
            text = wanted.to_text(self._config)
            try:
                if text != found.text:
                    self._objects.write(models_config.NAME, text, found.generation)
            except Changed:
                _pause()
                continue
            for number in {*found.served.loaded, *wanted.loaded} & found.incomplete.keys():
                self._objects.delete(f"{number}/{_INCOMPLETE}")
            if is_last:
                return before, after
            sleep(_SETTLED)
        raise ServingError(
            f"{self.address}/{models_config.NAME} was changed by others {_ATTEMPTS} times in a row: repeat "
            "the command when they have ended."
        )

    def remove(self, numbers: list[int]) -> list[int]:
        """See `Storage`."""
        if not numbers:
            return []
        for number in numbers:
            self._mark(number)
        chosen = self._refuse_older_snapshots().served.loaded
        removed = [number for number in numbers if number not in chosen]
        for number in numbers:
            if number in removed:
                self._delete(number)
            else:
                self._objects.delete(f"{number}/{_INCOMPLETE}")
        return removed

    def remove_stale(self) -> None:
        """See `Storage`; here all machines are others."""
        found = self._snapshot()
        for number, since in found.incomplete.items():
            if number not in found.served.loaded and datetime.now(UTC) - since > _OLD:
                self._delete(number)

    def _snapshot(self) -> _Snapshot:
        """Returns what there is.

        Raises:
            ServingError: The address cannot be used, or `models.config` cannot be read.
        """
        contents, generation = self._objects.read(models_config.NAME)
        text = contents.decode(errors="replace")
        served = ServedVersions()
        if generation != NONE:
            try:
                served = ServedVersions.from_text(text)
            except ValueError as error:
                raise ServingError(
                    f"{self.address}/{models_config.NAME} cannot be read ({error}): put back what "
                    "catsdogs wrote there, or delete it to have the newest version served."
                ) from error
        listed = self._objects.list()
        there = {int(folder) for name in listed if is_version(folder := name.split("/")[0])}
        incomplete = {
            number: listed[mark].updated for number in there if (mark := f"{number}/{_INCOMPLETE}") in listed
        }
        whole = {
            number for number in there - incomplete.keys() if f"{number}/{manifest.SAVED_MODEL}" in listed
        }
        newest = max(served.loaded, default=None)
        live = {
            *served.loaded,
            *(number for number in whole - {*served.withdrawn} if newest is None or number < newest),
        }
        withdrawn = whole.intersection(served.withdrawn) - live
        reserved = there.union(served.withdrawn) - live - withdrawn
        return _Snapshot(
            text,
            generation,
            served,
            ModelVersions(tuple(sorted(live)), tuple(sorted(withdrawn)), tuple(sorted(reserved))),
            incomplete,
        )

    def _refuse_older_snapshots(self) -> _Snapshot:
        """Writes `models.config` as it is: what others would write after an older look is refused then."""
        while True:
            found = self._snapshot()
            try:
                if found.generation != NONE:
                    self._objects.write(models_config.NAME, found.text, found.generation)
                return found
            except Changed:
                _pause()

    def _mark(self, number: int) -> None:
        with contextlib.suppress(Changed):  # it is marked already
            self._objects.write(f"{number}/{_INCOMPLETE}", "being deleted\n", NONE)

    def _delete(self, number: int) -> None:
        self._mark(number)
        for name in self._listed(number):
            if name != _INCOMPLETE:
                self._objects.delete(f"{number}/{name}")
        self._objects.delete(f"{number}/{_INCOMPLETE}")

    def _listed(self, number: int) -> dict[str, Object]:
        found = self._objects.list(f"{number}/")
        return {name.partition("/")[2]: one for name, one in found.items()}


def _pause() -> None:
    sleep(random.uniform(0.1, 1))
