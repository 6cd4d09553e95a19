"""Stores approvals on a volume, in order, for pipelines without access to ML Metadata.

The approved files are stored too: a later run on Kubeflow Pipelines cannot have an artifact of an earlier run
as an input.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from components import fingerprint
from components.errors import PipelineError

# Properties of an approval: the data source, and whether the model became the best model.
SOURCE_PROPERTY, IS_BEST_PROPERTY = "source", "best"
TRUE = "yes"
LOOKUP_PROPERTIES = (SOURCE_PROPERTY, IS_BEST_PROPERTY)

_MAX_APPROVALS = 5  # with the same properties
_ENTRY, _FILES = "approval.json", "files"
_TIME = "%Y-%m-%dT%H-%M-%S.%f"
_STALE_AFTER = 24 * 3600  # seconds; no write or removal takes that long


@dataclass(frozen=True)
class Approval:
    """An approval of data or of a model.

    Attributes:
        id: Unique for each approval; sorts by time.
        uri: URI of the subject when it was approved.
        contents: Fingerprint of the subject's files; equal for equal subjects.
        metadata: Properties of the subject.
        properties: Properties of the approval.
        files: Folder with a copy of the subject's files.
        run_key: Equal for runs that produce the subject from the same data, settings and code; empty in
            approvals of versions without it.
    """

    id: str
    uri: str
    contents: str
    metadata: dict[str, Any]
    properties: dict[str, str]
    files: str
    run_key: str = ""

    def text(self) -> str:
        """Returns the approval as one line of JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Approval:
        """Parses the result of `text`.

        Raises:
            ValueError: The text is not an approval.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from None


class ApprovalStore:
    """The approvals of one type of subject, one folder each, written atomically.

    Args:
        folder: Folder of the approvals; created when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(
        self,
        subject: Path,
        uri: str,
        metadata: Mapping[str, Any] | None = None,
        properties: Mapping[str, str] | None = None,
        run_key: str = "",
    ) -> Approval:
        """Adds an approval unless the newest one of the same source is equal.

        Args:
            subject: Folder with the files.
            uri: URI of the subject.
            metadata: Properties of the subject.
            properties: Properties of the approval, which a lookup can filter by.
            run_key: Key of the run.

        Returns:
            The newest approval.

        Raises:
            PipelineError: The folder of the approvals is not writable.
        """
        properties = dict(properties or {})
        contents = fingerprint.of_folder(subject)
        newest = self.newest(
            where={SOURCE_PROPERTY: properties[SOURCE_PROPERTY]} if SOURCE_PROPERTY in properties else None
        )
        if newest is not None and (newest.contents, newest.properties) == (contents, properties):
            return newest
        name = self._next_id()
        folder = self._folder / name
        approval = Approval(
            name, uri, contents, dict(metadata or {}), properties, str(folder / _FILES), run_key
        )
        temporary_folder = self._folder / f".{name}"
        try:
            shutil.copytree(subject, temporary_folder / _FILES)
            (temporary_folder / _ENTRY).write_text(approval.text() + "\n", encoding="utf-8")
            temporary_folder.rename(folder)
        except OSError as error:
            shutil.rmtree(temporary_folder, ignore_errors=True)
            raise PipelineError(
                f"The approval cannot be recorded in {self._folder} ({error.strerror or error}): make the "
                "volume writable for the user of the pods, or give it more space."
            ) from error
        self._drop_old(properties)
        _remove_stale_folders(self._folder)
        return approval

    def newest(
        self, other_than: str | None = None, where: Mapping[str, str] | None = None
    ) -> Approval | None:
        """Returns the last approval; None if there is none.

        Args:
            other_than: Fingerprint of a subject whose approvals do not count.
            where: Properties that an approval must have.
        """
        approvals = self.newest_first(where or {})
        return next((approval for approval in approvals if approval.contents != other_than), None)

    def newest_first(self, where: Mapping[str, str]) -> list[Approval]:
        """Returns the approvals that have these properties, newest first."""
        return [
            approval
            for approval in reversed(self._approvals())
            if where.items() <= approval.properties.items()
        ]

    def _next_id(self) -> str:
        """Returns an id that sorts after all others, even if the clock of another node is ahead."""
        given = datetime.now(UTC)
        for approval in self._approvals()[-1:]:
            last = datetime.strptime(approval.id.rpartition("-")[0], _TIME).replace(tzinfo=UTC)
            given = max(given, last + timedelta(microseconds=1))
        return f"{given.strftime(_TIME)}-{uuid.uuid4().hex[:8]}"

    def _approvals(self) -> list[Approval]:
        """Reads all approvals, oldest first; a leading dot marks folders being written or removed."""
        if not self._folder.is_dir():
            return []
        approvals = []
        for folder in sorted(self._folder.glob("[!.]*")):
            try:
                approval = Approval.parse((folder / _ENTRY).read_text(encoding="utf-8"))
            except FileNotFoundError:  # another run removed it
                continue
            except (OSError, ValueError) as error:
                raise PipelineError(
                    f"The approval in {folder} cannot be read ({error}): remove that folder."
                ) from None
            approvals.append(approval)
        return approvals

    def _drop_old(self, properties: dict[str, str]) -> None:
        """Removes approvals beyond the newest ones with these properties."""
        same = [approval for approval in self._approvals() if approval.properties == properties]
        for approval in same[:-_MAX_APPROVALS]:
            removed_folder = self._folder / f".{approval.id}"
            try:
                (self._folder / approval.id).rename(removed_folder)
            except FileNotFoundError:  # another run removed it
                continue
            shutil.rmtree(removed_folder, ignore_errors=True)


def _remove_stale_folders(folder: Path) -> None:
    """Removes hidden folders that killed processes left and nobody has changed for a day."""
    oldest = time.time() - _STALE_AFTER
    for path in folder.glob(".*"):
        try:
            is_stale = path.stat().st_mtime < oldest
        except FileNotFoundError:  # another process removed it meanwhile
            continue
        if is_stale:
            shutil.rmtree(path, ignore_errors=True)
