"""Keeps the pixels that are decoded within bounds: those of a picture, and those of all at a time."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.example.example_pb2 import Example

from serving.local.image_size import Unmeasurable, measure
from serving.local.servable import Servable
from serving.local.status import invalid_argument

_JPEG_XL = (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n")
_LARGEST_AT_A_TIME = 4  # so many pictures of the largest size are decoded at once


class PixelBound:
    """Lets a batch decode its pictures when there is room for them. Safe to use from several threads.

    Args:
        max_pixels: Most pixels of a picture, width times height, all frames of a GIF together.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._room = self._free = _LARGEST_AT_A_TIME * max_pixels
        self._changed = threading.Condition()

    def run(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Runs a batch once there is room for all its pictures.

        A batch with more than there is ever room for runs when no other does.

        Args:
            servable: The version to run.
            signature_name: Which of its signatures.
            inputs: By the signature's names for them; in those of strings, pictures and `tf.Example`s are
                looked at.
            output_filter: The outputs wanted; none means all.

        Returns:
            The outputs by the signature's names for them.

        Raises:
            StatusError: A picture is too large, or is JPEG XL, whose size is not read here; or the model
                refuses the batch.
        """
        pixels = min(self._pixels(inputs), self._room)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            return servable.run(signature_name, inputs, output_filter)
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()

    def _pixels(self, inputs: Mapping[str, np.ndarray]) -> int:
        total = 0
        for name, array in inputs.items():
            values = array.flat if array.dtype.kind in "OS" else ()
            for encoded in (found for value in values for found in _pictures(value)):
                if encoded.startswith(_JPEG_XL):
                    raise invalid_argument(
                        f"{name} is a JPEG XL picture, which this server does not take: "
                        "send JPEG, PNG, GIF, BMP or WebP."
                    )
                try:
                    size = measure(encoded)
                except Unmeasurable:
                    raise invalid_argument(f"{name} is a picture whose size cannot be read.") from None
                if size is None:
                    continue
                if size.pixels > self._max_pixels:
                    raise invalid_argument(
                        f"{name} is a picture of {size} pixels, and the limit is {self._max_pixels} pixels: "
                        "send a smaller one."
                    )
                total += size.pixels
        return total


def _pictures(value: bytes) -> Iterator[bytes]:
    """Yields a string, or the strings in it where it is a `tf.Example`."""
    if not isinstance(value, bytes):
        return
    yield value
    with contextlib.suppress(DecodeError):  # whatever it begins with: an unknown field may spell "BM"
        for feature in Example.FromString(value).features.feature.values():
            yield from feature.bytes_list.value
