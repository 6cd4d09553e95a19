"""Writes one shard of every split atomically."""

from __future__ import annotations

import errno
import posixpath
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType

import tensorflow as tf

_ERRNO = {
    tf.errors.RESOURCE_EXHAUSTED: errno.ENOSPC,
    tf.errors.PERMISSION_DENIED: errno.EACCES,
    tf.errors.NOT_FOUND: errno.ENOENT,
}


class ShardWriter:
    """Context manager that writes records and moves the finished files into place if no error occurred.

    The records are not compressed: JPEG data is compressed already, and gzip would take as long as decoding.

    Args:
        uri: Folder of the artifact; each split has a folder `Split-<name>` in it.
        shard: Number of this shard.
        shards: Number of shards.
    """

    def __init__(self, uri: str, shard: int, shards: int) -> None:
        self._uri = uri
        self._name = f"data_tfrecord-{shard:05d}-of-{shards:05d}"
        self._unfinished: dict[str, tuple[str, tf.io.TFRecordWriter]] = {}

    def write(self, split: str, record: bytes) -> None:
        """Adds a record to this shard of a split.

        Raises:
            OSError: The record cannot be written; the error names the file.
        """
        if split not in self._unfinished:
            # Readers take every file in the split's folder, and Beam may retry.
            path = posixpath.join(unfinished_folder(self._uri), f"{split}-{self._name}-{uuid.uuid4().hex}")
            with os_error(path):
                self._unfinished[split] = (path, tf.io.TFRecordWriter(path))
        path, writer = self._unfinished[split]
        with os_error(path):
            writer.write(record)

    def __enter__(self) -> ShardWriter:
        with os_error(unfinished_folder(self._uri)):
            tf.io.gfile.makedirs(unfinished_folder(self._uri))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            return
        for split, (path, writer) in self._unfinished.items():
            folder = posixpath.join(self._uri, f"Split-{split}")
            with os_error(path):
                writer.close()
                tf.io.gfile.makedirs(folder)
                tf.io.gfile.rename(path, posixpath.join(folder, self._name), overwrite=True)


def unfinished_folder(uri: str) -> str:
    """Returns the folder in which files of an artifact are written before they are moved into place."""
    return posixpath.join(uri, "unfinished")


@contextmanager
def os_error(path: str) -> Iterator[None]:
    """Converts TensorFlow errors to OSErrors that name the file."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.rpartition("; ")[2]  # TensorFlow puts the path before it
        raise OSError(_ERRNO.get(error.error_code, errno.EIO), reason, path) from error
