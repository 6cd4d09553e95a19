"""Detects artifacts whose files have changed since their node wrote them.

A local run records a fingerprint of each output, because a disk does not reveal a changed byte. An object
store verifies its contents itself, so on Kubeflow there is none.
"""

from __future__ import annotations

import errno
from pathlib import Path

from ml_metadata.proto import metadata_store_pb2

from components import fingerprint

_FINGERPRINT = "files_fingerprint"  # custom property
_DAMAGE = (errno.EIO, errno.EBADMSG, errno.ENOENT)  # such as a bad sector


def record_files(artifact: metadata_store_pb2.Artifact) -> None:
    """Sets the fingerprint of the artifact's files as a custom property; the caller stores the artifact."""
    artifact.custom_properties[_FINGERPRINT].string_value = fingerprint.of_folder(Path(artifact.uri))


def is_damaged(artifact: metadata_store_pb2.Artifact) -> bool:
    """Returns True if a file was changed, added or removed, or its disk is damaged; ignores hidden files.

    An artifact without a recorded fingerprint, as earlier versions wrote them, counts as undamaged.
    """
    if _FINGERPRINT not in artifact.custom_properties:
        return False
    recorded = artifact.custom_properties[_FINGERPRINT].string_value
    try:
        return fingerprint.of_folder(Path(artifact.uri)) != recorded
    except OSError as error:
        if error.errno in _DAMAGE:
            return True
        raise
