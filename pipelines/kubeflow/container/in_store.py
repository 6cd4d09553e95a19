"""Artifacts that are no files of the pod: remote workers read and write them in their store."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


def sizes(uri: str) -> dict[str, int]:
    """Returns the names of the files of an artifact, relative to it, with their sizes in bytes.

    Raises:
        OSError: The store cannot be asked.
    """
    import tensorflow as tf  # takes seconds, and knows the store

    with _os_error():
        return {
            posixpath.relpath(path, uri): tf.io.gfile.stat(path).length
            for folder, _, names in tf.io.gfile.walk(uri)
            for path in (posixpath.join(folder, name) for name in names)
        }


def copy(source: str, target: str, names: Iterable[str]) -> None:
    """Makes an artifact of the files of another one, and of no others.

    Raises:
        OSError: A file is not there, or the store cannot be written.
    """
    import tensorflow as tf

    empty(target)
    with _os_error():
        for name in names:
            copied = posixpath.join(target, name)
            tf.io.gfile.makedirs(posixpath.dirname(copied))
            tf.io.gfile.copy(posixpath.join(source, name), copied, overwrite=True)


def empty(uri: str) -> None:
    """Removes what an attempt that was cut short has left; the next one writes to the same place.

    Raises:
        OSError: The store cannot be written.
    """
    import tensorflow as tf

    with _os_error():
        if tf.io.gfile.exists(uri):
            tf.io.gfile.rmtree(uri)


@contextmanager
def _os_error() -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(error.message) from error
