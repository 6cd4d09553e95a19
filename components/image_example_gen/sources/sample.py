"""Sample images of cats and dogs that the project draws from a seed, in any number."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import pairwise

from components.errors import InputError
from components.image_example_gen.sources.base import SPLITS, SourceImage, class_index, shard_count

_DRAWN_CLASSES = ("cat", "dog")  # in the order of the labels in `drawing`
_TYPICAL_BYTES = 16_000


def check(class_names: Sequence[str]) -> None:
    """Raises InputError unless the classes are cats and dogs."""
    if sorted(_drawn_labels(class_names)) != [0, 1]:
        raise InputError(
            f"data.class_names is {list(class_names)}, but the sample images are cats and dogs: set a folder "
            "of your own images with --images DIR."
        )


def _drawn_labels(class_names: Sequence[str]) -> list[int]:
    labels = [class_index(name, _DRAWN_CLASSES) for name in class_names]
    return [label for label in labels if label is not None]


class SampleSource:
    """Drawn images, the same number of each class.

    Args:
        count: Number of images, both classes together.
        seed: Seed of the drawing.
        class_names: The two classes, in the order of their labels.

    Raises:
        InputError: The classes are not cats and dogs.
    """

    def __init__(self, count: int, seed: int, class_names: Sequence[str]) -> None:
        check(class_names)
        self._count = count
        self._seed = seed
        self._class_names = tuple(class_names)

    def count(self) -> int:
        """See `Source`."""
        return self._count

    def portions(self) -> list[range]:
        """See `Source`."""
        shards = min(shard_count(self._count * _TYPICAL_BYTES), self._count)
        bounds = [self._count * shard // shards for shard in range(shards + 1)]
        return [range(start, stop) for start, stop in pairwise(bounds)]

    def read(self, portion: range) -> Iterator[SourceImage]:
        """See `Source`."""
        from components.image_example_gen.drawing import jpeg

        drawn_labels = _drawn_labels(self._class_names)
        for index in portion:
            label = index % 2
            yield SourceImage(
                filename=f"{self._class_names[label]}/{index:06d}.jpg",
                folder="sample",
                label=label,
                splits=SPLITS,
                read=partial(jpeg, index, self._seed, drawn_labels[label]),
            )

    def outside_links(self) -> list[str]:
        """See `Source`."""
        return []

    def fingerprint(self) -> str:
        """See `Source`; the component's `code_fingerprint` covers the drawing code."""
        return hashlib.sha256(f"{self._count} drawn from {self._seed}".encode()).hexdigest()
