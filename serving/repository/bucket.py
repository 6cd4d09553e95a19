"""Objects below a gs:// address, with the few operations that the model repository needs."""

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
from serving.repository.storage import GS_SCHEME

NO_GENERATION = 0  # Cloud Storage's generation of an object that does not exist


class ObjectChanged(Exception):
    """The object was created or overwritten since it was read."""


@dataclasses.dataclass(frozen=True)
class StoredObject:
    """An object in a listing.

    Attributes:
        size: Size in bytes.
        updated: When it was written.
    """

    size: int
    updated: datetime


class Bucket:
    """The objects of a bucket whose names start with a prefix.

    The credentials are Google's application default credentials; `STORAGE_EMULATOR_HOST` is supported.

    Args:
        address: `gs://bucket/prefix`; the bucket exists.

    Raises:
        UsageError: The address has no bucket or no prefix.
    """

    def __init__(self, address: str) -> None:
        bucket, _, prefix = address.removeprefix(GS_SCHEME).strip("/").partition("/")
        if not bucket or not prefix:
            raise UsageError(
                f"serving.destination is {address}; expected gs://BUCKET/FOLDER: name a folder of an "
                "existing bucket."
            )
        self.address = f"{GS_SCHEME}{bucket}/{prefix}"
        self._prefix = f"{prefix}/"
        with self._translate_errors():
            self._bucket = storage.Client().bucket(bucket)

    def list(self, below: str = "") -> dict[str, StoredObject]:
        """Returns the objects by name relative to the address.

        Args:
            below: Lists only names that start with this.
        """
        with self._translate_errors():
            blobs = self._bucket.client.list_blobs(self._bucket, prefix=self._prefix + below)
            return {
                blob.name.removeprefix(self._prefix): StoredObject(int(blob.size), blob.updated)
                for blob in blobs
            }

    def read(self, name: str) -> tuple[bytes, int]:
        """Returns an object's contents and generation; `b""` and NO_GENERATION if it does not exist."""
        with self._translate_errors():
            while True:
                blob = self._bucket.get_blob(self._prefix + name)
                if blob is None:
                    return b"", NO_GENERATION
                # If it was overwritten since the look-up, read it again.
                with contextlib.suppress(exceptions.NotFound, exceptions.PreconditionFailed):
                    generation = int(blob.generation)
                    return blob.download_as_bytes(if_generation_match=generation), generation

    def write(self, name: str, contents: str, generation: int) -> None:
        """Writes an object atomically if its generation is unchanged.

        Raises:
            ObjectChanged: The object has another generation.
        """
        with self._translate_errors():
            try:
                self._bucket.blob(self._prefix + name).upload_from_string(
                    contents, content_type="text/plain; charset=utf-8", if_generation_match=generation
                )
            except exceptions.PreconditionFailed as error:
                raise ObjectChanged(name) from error

    def upload(self, path: Path, name: str) -> None:
        """Uploads a file."""
        with self._translate_errors():
            self._bucket.blob(self._prefix + name).upload_from_filename(str(path))

    def delete(self, name: str) -> None:
        """Deletes an object if it exists."""
        with self._translate_errors(), contextlib.suppress(exceptions.NotFound):
            self._bucket.blob(self._prefix + name).delete()

    @contextlib.contextmanager
    def _translate_errors(self) -> Iterator[None]:
        try:
            yield
        except (exceptions.GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise ServingError(
                f"{getattr(self, 'address', GS_SCHEME)} cannot be used ({_first_words(error)}): check that "
                "the bucket exists and can be reached, and that your account may read and write it (gcloud "
                "auth application-default login, or the pod's service account)."
            ) from error


def _first_words(error: Exception) -> str:
    return " ".join(str(getattr(error, "message", error)).split())[:200]
