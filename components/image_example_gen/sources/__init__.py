"""The sources of images: a folder, a TensorFlow Datasets builder, or sample images that the project draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from components.errors import InputError
from components.image_example_gen.sources.base import Source
from components.image_example_gen.sources.folder import FolderSource

KINDS = ("folder", "sample", "tfds")


def check_source(source: Mapping[str, Any], class_names: Sequence[str]) -> None:
    """Checks a source without reading an image; fast enough for the CLI to call at start-up.

    Args:
        source: See `open_source`.
        class_names: The two classes.

    Raises:
        InputError: The source cannot be used; the message states why and what to do.
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
        raise _unknown_source(kind)


def open_source(source: Mapping[str, Any], class_names: Sequence[str]) -> Source:
    """Opens a source.

    Args:
        source: `{"kind": "folder", "folder": …}`, `{"kind": "sample", "count": …, "seed": …}` or
            `{"kind": "tfds", "builder": …, "data_dir": …, "download": …}`.
        class_names: The two classes; the index is the label.

    Raises:
        InputError: The source cannot be used.
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
    raise _unknown_source(kind)


def source_name(source: Mapping[str, Any]) -> str:
    """Returns the short name of a source; data is compared only with earlier data of the same name.

    Args:
        source: See `open_source`.
    """
    detail = source.get("folder") or source.get("builder") or ""
    return f"{source['kind']} {detail}".strip()


def _unknown_source(kind: Any) -> InputError:
    return InputError(f"data.source is {kind!r}: it must be one of {', '.join(KINDS)}.")
