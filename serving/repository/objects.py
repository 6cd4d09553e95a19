"""The objects below a gs:// address: the few operations that publishing needs, and their errors in words."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from google.api_core import exceptions
from google.auth.exceptions import GoogleAuthError
from google.cloud import storage
from requests.exceptions import RequestException

from serving.errors import ServingError, UsageError
from serving.repository.storage import OBJECT_STORE

NONE = 0  # the generation of an object that does not exist


class Changed(Exception):
    """Somebody else wrote the object since it was read, or made it."""


@dataclasses.dataclass(frozen=True)
class Object:
    """What a listing says of an object.

    Attributes:
        size: In bytes.
        updated: When it was written.
    """

    size: int
    updated: datetime


class Objects:
    """Objects whose names begin alike.

    `STORAGE_EMULATOR_HOST` is honoured; otherwise the credentials are Google's application defaults.

    Args:
        address: `gs://bucket/prefix`; the bucket exists.

    Raises:
        UsageError: It names no bucket.
    """

    def __init__(self, address: str) -> None:
        bucket, _, prefix = address.removeprefix(OBJECT_STORE).strip("/").partition("/")
        if not bucket or not prefix:
            raise UsageError(
                f"serving.destination is {address}, and gs://BUCKET/FOLDER is expected: name a folder of an "
                "existing bucket."
            )
        self.address = f"{OBJECT_STORE}{bucket}/{prefix}"
        self._prefix = f"{prefix}/"
        with self._told():
            self._bucket = storage.Client().bucket(bucket)

    def list(self, below: str = "") -> dict[str, Object]:
        """Returns what there is, by names relative to the address."""
        with self._told():
            found = self._bucket.client.list_blobs(self._bucket, prefix=self._prefix + below)
            return {
                blob.name.removeprefix(self._prefix): Object(int(blob.size), blob.updated) for blob in found
            }

    def read(self, name: str) -> tuple[bytes, int]:
        """Returns an object's contents and its generation; nothing and NONE where it does not exist."""
        with self._told():
            while True:
                blob = self._bucket.get_blob(self._prefix + name)
                if blob is None:
                    return b"", NONE
                # Replaced since it was looked up: again.
                with contextlib.suppress(exceptions.NotFound, exceptions.PreconditionFailed):
                    generation = int(blob.generation)
                    return blob.download_as_bytes(if_generation_match=generation), generation

    def write(self, name: str, contents: str, generation: int) -> None:
        """Writes an object in one go, if its generation is still this one.

        Raises:
            Changed: It is not.
        """
        with self._told():
            try:
                self._bucket.blob(self._prefix + name).upload_from_string(
                    contents, content_type="text/plain; charset=utf-8", if_generation_match=generation
                )
            except exceptions.PreconditionFailed as error:
                raise Changed(name) from error

    def upload(self, path: Path, name: str) -> None:
        """Copies a file."""
        with self._told():
            self._bucket.blob(self._prefix + name).upload_from_filename(str(path))

    def delete(self, name: str) -> None:
        """Deletes an object, if it is there."""
        with self._told(), contextlib.suppress(exceptions.NotFound):
            self._bucket.blob(self._prefix + name).delete()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise ServingError(
                f"{getattr(self, 'address', OBJECT_STORE)} cannot be used ({_short(error)}): check that the "
                "bucket exists, that it can be reached, and that the account may read and write it (gcloud "
                "auth application-default login, or the pod's service account)."
            ) from error


def _short(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", error)).split())[:200]
