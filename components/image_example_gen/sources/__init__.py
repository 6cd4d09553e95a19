"""Where pictures come from: a folder, a TensorFlow Datasets builder, or the project's own drawings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.errors import InputError
from components.image_example_gen.sources.base import Source
from components.image_example_gen.sources.folder import FolderSource

KINDS = ("folder", "sample", "tfds")


def check_source(source: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Checks what can be told without reading a picture; it is quick, for the command line to start with.

    Args:
        source: As for `open_source`.
        class_names: The two classes.

    Raises:
        InputError: The source cannot be used; the message says why and what to do.
    """
    kind = source.get("kind")
    if kind == "folder":
        FolderSource(source["folder"], class_names).check()
    elif kind == "sample":
        from components.image_example_gen.sources.sample import check

        check(class_names)
    elif kind == "tfds":
        from components.image_example_gen.sources.tfds import check_prepared

        check_prepared(source["builder"], source.get("data_dir"), source.get("download", True))
    else:
        raise _unknown(kind)


def open_source(source: Mapping[str, Any], class_names: Sequence[str]) -> Source:
    """Returns a source.

    Args:
        source: `{"kind": "folder", "folder": …}`, `{"kind": "sample", "count": …, "seed": …}` or
            `{"kind": "tfds", "builder": …, "data_dir": …, "download": …}`.
        class_names: The two classes; the index is the label.

    Raises:
        InputError: As `check_source`.
    """
    kind = source.get("kind")
    if kind == "folder":
        return FolderSource(source["folder"], class_names)
    if kind == "sample":
        from components.image_example_gen.sources.sample import SampleSource

        return SampleSource(source["count"], source["seed"], class_names)
    if kind == "tfds":
        from components.image_example_gen.sources.tfds import TfdsSource

        return TfdsSource(
            source["builder"], source.get("data_dir"), source.get("download", True), class_names
        )
    raise _unknown(kind)


def source_name(source: Mapping[str, Any]) -> str:
    """Returns what a source is called in short; data are compared only with earlier ones of the same name.

    Args:
        source: As for `open_source`.
    """
    detail = source.get("folder") or source.get("builder") or ""
    return f"{source['kind']} {detail}".strip()


def _unknown(kind: Any) -> InputError:
    return InputError(f"There is no source {kind!r}: data.source must be one of {', '.join(KINDS)}.")
