"""The interface of a source of images, and the rules that all sources share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SPLITS = ("train", "eval", "test")

# Accepted names of a source's own splits.
SOURCE_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "eval": "validation",
    "test": "test",
    "testing": "test",
}

_SHARD_BYTES = 16 << 20
_MIN_SHARDS, _MAX_SHARDS = 4, 256  # enough to read in parallel, and few enough files for a file system


class ImageRejected(Exception):
    """An image cannot be used.

    Attributes:
        reason: Short name of the fault; rejected images are counted by reason.
        detail: Details of this image's fault; may be empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class SourceImage:
    """A labelled image that has not been read yet.

    Attributes:
        filename: File name, relative to the source.
        folder: Folder within the source.
        label: Index into the class names.
        splits: The possible splits; a hash of the bytes selects one of them.
        read: Returns the encoded bytes; raises OSError or `ImageRejected`.
    """

    filename: str
    folder: str
    label: int
    splits: tuple[str, ...]
    read: Callable[[], bytes]


class Source(Protocol):
    """A source of images in portions that are read independently; each portion mixes the classes."""

    def count(self) -> int:
        """Returns the number of images, readable or not."""

    def portions(self) -> list[Any]:
        """Returns picklable descriptions of the portions; each portion becomes one shard of every split."""

    def read(self, portion: Any) -> Iterator[SourceImage]:
        """Yields the images of a portion in a fixed order."""

    def outside_links(self) -> list[str]:
        """Returns the paths of the links that lead out of the source."""

    def fingerprint(self) -> str:
        """Returns a string that changes whenever the images change."""


def class_index(name: str, class_names: Sequence[str]) -> int | None:
    """Returns the index of the class that matches a name, in singular or plural and any case, or None.

    >>> class_index("CATS", ["cat", "dog"])
    0
    """
    name = name.casefold()
    for index, class_name in enumerate(class_names):
        class_name = class_name.casefold()
        if name in _word_forms(class_name) or class_name in _word_forms(name):
            return index
    return None


def _word_forms(word: str) -> set[str]:
    forms = {word, word + "s", word + "es"}
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    return forms


def shard_count(total_bytes: int) -> int:
    """Returns the number of shards for a data set of this size."""
    return min(max(-(-total_bytes // _SHARD_BYTES), _MIN_SHARDS), _MAX_SHARDS)


def printable(name: str) -> str:
    """Returns a file name with bytes that are not UTF-8 replaced by escapes."""
    return name.encode(errors="backslashreplace").decode()


def format_names(names: Sequence[str]) -> str:
    """Returns the quoted names as "'a', 'b' and 'c'"; of more than five, four names and a count."""
    quoted = [repr(printable(name)) for name in names]
    if len(quoted) > 5:
        quoted = [*quoted[:4], f"{len(quoted) - 4:,} more"]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def map_source_splits(has_validation: bool, has_test: bool) -> dict[str, tuple[str, ...]]:
    """Maps the splits of a source that has its own to the pipeline's splits.

    Args:
        has_validation: Whether the source has a validation split.
        has_test: Whether the source has a test split.

    Returns:
        The possible splits of the images in the source's `train`, `validation` and `test`. If the source has
        only one split besides `train`, that one becomes `test`, and `eval` is taken from `train`.
    """
    if has_validation and has_test:
        return {"train": ("train",), "validation": ("eval",), "test": ("test",)}
    if has_validation or has_test:
        return {"train": ("train", "eval"), "validation": ("test",), "test": ("test",)}
    return {"train": SPLITS}
