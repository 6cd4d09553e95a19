"""Refuses pictures that would decode to more pixels than the server has room for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from serving.local import example_bytes
from serving.local.picture_size import Unmeasurable, measure
from serving.local.status import invalid_argument

_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")


def check(inputs: Mapping[str, np.ndarray], max_pixels: int) -> None:
    """Looks at the headers of all pictures in a request, also of those inside `tf.Example`s.

    Args:
        inputs: A request's tensors; those of strings are looked at.
        max_pixels: Most pixels of a picture, width times height, all frames of an animation together.

    Raises:
        StatusError: A picture has more, or is JPEG XL, whose size is not read here.
    """
    for name, array in inputs.items():
        if array.dtype.kind not in "OS":
            continue
        for encoded in _pictures(name, array):
            if encoded.startswith(_JPEG_XL):
                raise invalid_argument(
                    f"{name} is a JPEG XL picture, which this server does not take: "
                    "send JPEG, PNG, GIF, BMP or WebP."
                )
            try:
                size = measure(encoded)
            except Unmeasurable:
                raise invalid_argument(f"{name} is a picture of more parts than pictures have.") from None
            if size and size.pixels > max_pixels:
                raise invalid_argument(
                    f"{name} is a picture of {size} pixels, and the limit is {max_pixels} pixels: "
                    "send a smaller one."
                )


def _pictures(name: str, array: np.ndarray) -> Iterator[bytes]:
    """Yields all strings, and those inside each: what begins as a picture can be a tf.Example too."""
    for value in array.flat:
        if isinstance(value, bytes):
            yield value
            try:
                yield from example_bytes.values(value)
            except example_bytes.TooManyFields:
                raise invalid_argument(f"{name} is a tf.Example of too many fields.") from None
