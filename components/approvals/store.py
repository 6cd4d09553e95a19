"""Approvals on a volume, for where no ML Metadata can be asked: what was approved, in which order.

The files are kept too. Kubeflow Pipelines lets a step output nothing but what lies in the folder of its own
run, so that a later run cannot hand on the earlier artifact itself.
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

# Properties of an approval: what the data came from, and whether the model became the best one.
SOURCE, BEST = "source", "best"
YES = "yes"
LOOKED_FOR = (SOURCE, BEST)

_KEPT = 5  # newest approvals of the same properties
_ENTRY, _FILES = "approval.json", "files"
_TIME = "%Y-%m-%dT%H-%M-%S.%f"
_STALE_AFTER = 24 * 3600  # seconds; no write or removal takes that long


@dataclass(frozen=True)
class Approval:
    """One approval.

    Attributes:
        id: Sorts by time; another approval of the same subject has another one.
        uri: Where the subject was when it was approved.
        contents: Fingerprint of the subject's files, which tells whether two subjects are the same.
        metadata: Properties of the subject.
        properties: Properties of the approval.
        files: Folder with a copy of the subject's files; empty where it is known to be gone.
    """

    id: str
    uri: str
    contents: str
    metadata: dict[str, Any]
    properties: dict[str, str]
    files: str

    def text(self) -> str:
        """Returns it on one line, always the same for the same approval, as a parameter of a step."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def parse(cls, text: str) -> Approval:
        """Reads what `text` returned.

        Raises:
            ValueError: It is something else.
        """
        try:
            return cls(**json.loads(text))
        except TypeError as error:
            raise ValueError(str(error)) from None


class ApprovalStore:
    """The approvals of one kind of subject, one folder each; they appear whole or not at all.

    Args:
        folder: Where they are; made when needed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def record(
        self,
        subject: Path,
        uri: str,
        metadata: Mapping[str, Any] | None = None,
        properties: Mapping[str, str] | None = None,
    ) -> Approval:
        """Adds an approval, unless the newest one of the same source says the same of the same subject.

        Args:
            subject: Folder of the files.
            uri: What the subject is called outside.
            metadata: Its properties.
            properties: What a lookup may ask for.

        Returns:
            The newest approval.

        Raises:
            PipelineError: The folder of the approvals cannot be written.
        """
        properties = dict(properties or {})
        contents = fingerprint.of_folder(subject)
        newest = self.newest(where={SOURCE: properties[SOURCE]} if SOURCE in properties else None)
        if newest is not None and (newest.contents, newest.properties) == (contents, properties):
            return newest
        name = self._next_id()
        folder = self._folder / name
        approval = Approval(name, uri, contents, dict(metadata or {}), properties, str(folder / _FILES))
        beside = self._folder / f".{name}"
        try:
            shutil.copytree(subject, beside / _FILES)
            (beside / _ENTRY).write_text(approval.text() + "\n", encoding="utf-8")
            beside.rename(folder)
        except OSError as error:
            shutil.rmtree(beside, ignore_errors=True)
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
        """Returns the approval that was given last.

        Args:
            other_than: Fingerprint of the contents of a subject that does not count.
            where: Properties, with their values, that an approval must have to count.

        Returns:
            None where there is none.
        """
        wanted = (where or {}).items()
        for approval in reversed(self._approvals()):
            if approval.contents != other_than and wanted <= approval.properties.items():
                return approval
        return None

    def _next_id(self) -> str:
        """Returns an id after all others, also where the clock of another node was ahead of this one's."""
        given = datetime.now(UTC)
        for approval in self._approvals()[-1:]:
            last = datetime.strptime(approval.id.rpartition("-")[0], _TIME).replace(tzinfo=UTC)
            given = max(given, last + timedelta(microseconds=1))
        return f"{given.strftime(_TIME)}-{uuid.uuid4().hex[:8]}"

    def _approvals(self) -> list[Approval]:
        """Returns all of them, the last one last; a dot is before what is being written or removed."""
        if not self._folder.is_dir():
            return []
        found = []
        for folder in sorted(self._folder.glob("[!.]*")):
            try:
                approval = Approval.parse((folder / _ENTRY).read_text(encoding="utf-8"))
            except FileNotFoundError:  # removed in this moment
                continue
            except (OSError, ValueError) as error:
                raise PipelineError(
                    f"The approval in {folder} cannot be read ({error}): remove that folder."
                ) from None
            found.append(approval)
        return found

    def _drop_old(self, properties: dict[str, str]) -> None:
        """Removes approvals that no run looks up any more."""
        same = [approval for approval in self._approvals() if approval.properties == properties]
        for approval in same[:-_KEPT]:
            going = self._folder / f".{approval.id}"
            try:
                (self._folder / approval.id).rename(going)
            except FileNotFoundError:  # another run was quicker
                continue
            shutil.rmtree(going, ignore_errors=True)


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
