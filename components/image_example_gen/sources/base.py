"""What every source of pictures offers, and the few rules that all of them share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

SPLITS = ("train", "eval", "test")

# What the parts of a source with splits of its own are called.
PARTS = {
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
_MIN_SHARDS, _MAX_SHARDS = 4, 256  # enough to read in parallel; not more files than a file system likes


class ImageRejected(Exception):
    """A picture cannot be used.

    Attributes:
        reason: A few words, the same for all pictures of the same fault: they are counted by it.
        detail: What is particular about this one; may be empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True)
class Picture:
    """A labelled picture that has not been looked at yet.

    Attributes:
        filename: Its name within the source.
        folder: Where in the source it comes from.
        label: Index into the class names.
        splits: The splits it may go to; a hash of its bytes decides among them.
        read: Returns the stored bytes; raises OSError or `Refused`.
    """

    filename: str
    folder: str
    label: int
    splits: tuple[str, ...]
    read: Callable[[], bytes]


class Source(Protocol):
    """Pictures in portions that can be read independently, each of them a mixture of the classes."""

    def count(self) -> int:
        """Returns the number of pictures, readable or not."""

    def portions(self) -> list[Any]:
        """Returns descriptions that can be pickled; each becomes one shard of every split."""

    def read(self, portion: Any) -> Iterator[Picture]:
        """Yields the pictures of a portion, always in the same order."""

    def fingerprint(self) -> str:
        """Returns a text that changes whenever the pictures do."""


def class_index(name: str, class_names: Sequence[str]) -> int | None:
    """Returns the index of the class that a name means, in singular or plural and any case.

    >>> class_index("CATS", ["cat", "dog"])
    0
    """
    given = name.casefold()
    for index, class_name in enumerate(class_names):
        wanted = class_name.casefold()
        if given in _forms(wanted) or wanted in _forms(given):
            return index
    return None


def _forms(word: str) -> set[str]:
    forms = {word, word + "s", word + "es"}
    if word.endswith("y"):
        forms.add(word[:-1] + "ies")
    return forms


def shard_count(total_bytes: int) -> int:
    """Returns how many shards a data set of this size is written in."""
    return min(max(-(-total_bytes // _SHARD_BYTES), _MIN_SHARDS), _MAX_SHARDS)


def printable(name: str) -> str:
    """Returns a file name with what is not UTF-8 written as escapes, for logs, tables and features."""
    return name.encode(errors="backslashreplace").decode()


def listed(names: Sequence[str]) -> str:
    """Returns "'a', 'b' and 'c'", cut short after a few."""
    quoted = [repr(printable(name)) for name in names]
    if len(quoted) > 5:
        quoted = [*quoted[:4], f"{len(quoted) - 4:,} more"]
    return " and ".join([", ".join(quoted[:-1]), quoted[-1]] if len(quoted) > 1 else quoted)


def own_splits(validation: bool, test: bool) -> dict[str, tuple[str, ...]]:
    """Returns where the parts of a source that has splits of its own go.

    Args:
        validation: Whether the source has a validation part.
        test: Whether it has a test part.

    Returns:
        For each of `train`, `validation` and `test` the splits its pictures may go to. With only one part
        beside `train`, that is what the model is judged on, and `eval` is carved from `train`.
    """
    if validation and test:
        return {"train": ("train",), "validation": ("eval",), "test": ("test",)}
    if validation or test:
        return {"train": ("train", "eval"), "validation": ("test",), "test": ("test",)}
    return {"train": SPLITS}
