"""Limits the number of pixels decoded per image and across all concurrent batches."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow.core.example.example_pb2 import Example

from serving.image_limits import ImageLimitError, check_image
from serving.local.servable import Servable
from serving.local.status import invalid_argument

_CONCURRENT_IMAGES = 4  # number of images of the largest size that are decoded at the same time


class PixelLimiter:
    """Runs a batch once there is enough pixel budget for its images. Thread-safe.

    Args:
        max_pixels: Largest image: width times height.
    """

    def __init__(self, max_pixels: int) -> None:
        self._max_pixels = max_pixels
        self._budget = self._available = _CONCURRENT_IMAGES * max_pixels
        self._released = threading.Condition()

    def run(
        self,
        servable: Servable,
        signature_name: str,
        inputs: Mapping[str, np.ndarray],
        output_filter: Sequence[str],
    ) -> dict[str, np.ndarray]:
        """Runs a batch once there is enough pixel budget.

        A batch that exceeds the whole budget runs when no other batch does.

        Args:
            servable: The version to run.
            signature_name: The signature to run.
            inputs: Tensors by input name; strings are checked for images, also inside a `tf.Example`.
            output_filter: The outputs to return; none means all.

        Returns:
            Tensors by output name.

        Raises:
            StatusError: An image exceeds a limit or is not a JPEG or PNG, or the model rejects the batch.
        """
        pixels = min(self._count_pixels(inputs), self._budget)
        with self._released:
            while self._available < pixels:
                self._released.wait()
            self._available -= pixels
        try:
            return servable.run(signature_name, inputs, output_filter)
        finally:
            with self._released:
                self._available += pixels
                self._released.notify_all()

    def _count_pixels(self, inputs: Mapping[str, np.ndarray]) -> int:
        total = 0
        for name, array in inputs.items():
            values = array.flat if array.dtype.kind in "OS" else ()
            for encoded in (string for value in values for string in _strings(value)):
                try:
                    total += check_image(encoded, self._max_pixels)
                except ImageLimitError as error:
                    raise invalid_argument(f"{name} is rejected: {error}.") from None
        return total


def _strings(value: bytes) -> Iterator[bytes]:
    """Yields a string and, if it is a `tf.Example`, the strings in it."""
    if not isinstance(value, bytes):
        return
    yield value
    with contextlib.suppress(DecodeError):  # tried for every prefix: an unknown field may begin with "BM"
        for feature in Example.FromString(value).features.feature.values():
            yield from feature.bytes_list.value
