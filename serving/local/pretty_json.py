"""JSON as RapidJSON's PrettyWriter writes it: four spaces a level, lists on one line where asked for."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from serving.local import grisu2

ECHO_BYTES = 256
"""After so many bytes TensorFlow Serving's error texts stop showing the request."""

_SPECIAL = re.compile(rb'["\\\x00-\x1f]')
_ESCAPES = {
    b'"': b'\\"',
    b"\\": b"\\\\",
    b"\b": b"\\b",
    b"\t": b"\\t",
    b"\n": b"\\n",
    b"\f": b"\\f",
    b"\r": b"\\r",
}


class PrettyWriter:
    """Writes one document, value by value.

    Attributes:
        single_line_arrays: Whether the lists written from now on stand on one line; may change on the way.
        size: Bytes written so far.
    """

    def __init__(self, single_line_arrays: bool = False) -> None:
        self.single_line_arrays = single_line_arrays
        self.size = 0
        self._pieces: list[bytes] = []
        self._in_array: list[bool] = []
        self._counts: list[int] = []

    def text(self) -> bytes:
        """Returns what has been written."""
        return b"".join(self._pieces)

    def raw(self, value: bytes) -> None:
        """Writes a value that is JSON already."""
        self._prefix()
        self._put(value)

    def string(self, value: bytes) -> None:
        """Writes a string, or the name of the next member."""
        self.raw(quoted(value))

    def double(self, value: float) -> bool:
        """Writes a double; NaN and Infinity are not written, and False is returned, as by RapidJSON."""
        self._prefix()
        if not math.isfinite(value):
            return False
        self._put(double(value).encode())
        return True

    def start_object(self) -> None:
        """Begins an object."""
        self._start(b"{", in_array=False)

    def end_object(self) -> None:
        """Ends the object."""
        self._end(b"}", multi_line=True)

    def start_array(self) -> None:
        """Begins a list."""
        self._start(b"[", in_array=True)

    def end_array(self) -> None:
        """Ends the list; whether its bracket stands on its own line is the setting of now."""
        self._end(b"]", multi_line=not self.single_line_arrays)

    def array(self, values: Sequence[bytes]) -> None:
        """Writes a list of values that are JSON already."""
        self._prefix()
        if not values:
            self._put(b"[]")
        elif self.single_line_arrays:
            self._put(b"[" + b", ".join(values) + b"]")
        else:
            end = self._line()
            start = end + b"    "
            self._put(b"[" + start + (b"," + start).join(values) + end + b"]")

    def object(self, names: Sequence[bytes], values: Sequence[bytes]) -> None:
        """Writes an object of names and values that are JSON already; there is one at least."""
        self._prefix()
        end = self._line()
        start = end + b"    "
        members = (b"," + start).join(
            [name + b": " + value for name, value in zip(names, values, strict=True)]
        )
        self._put(b"{" + start + members + end + b"}")

    def _start(self, bracket: bytes, in_array: bool) -> None:
        self._prefix()
        self._put(bracket)
        self._in_array.append(in_array)
        self._counts.append(0)

    def _end(self, bracket: bytes, multi_line: bool) -> None:
        self._in_array.pop()
        if self._counts.pop() and multi_line:
            self._put(self._line())
        self._put(bracket)

    def _prefix(self) -> None:
        if not self._counts:
            return
        count = self._counts[-1]
        self._counts[-1] += 1
        if self._in_array[-1]:
            if self.single_line_arrays:
                self._put(b", " if count else b"")
            else:
                self._put((b"," if count else b"") + self._line())
        elif count % 2:
            self._put(b": ")
        else:
            self._put((b"," if count else b"") + self._line())

    def _line(self) -> bytes:
        return line(len(self._counts))

    def _put(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self.size += len(piece)


def line(depth: int) -> bytes:
    """Returns what begins a line in so many lists and objects."""
    return b"\n" + b"    " * depth


def quoted(value: bytes) -> bytes:
    """Returns a JSON string: quotes, backslashes and control characters escaped, other bytes as they are."""
    return b'"' + _SPECIAL.sub(_escaped, value) + b'"'


def _escaped(found: re.Match[bytes]) -> bytes:
    return _ESCAPES.get(found.group()) or b"\\u%04X" % ord(found.group())


def double(value: float) -> str:
    """Returns a finite double in RapidJSON's digits, plain from 1e-6 to 1e21, else with an exponent."""
    sign = "-" if math.copysign(1.0, value) < 0 else ""
    if value == 0:
        return sign + "0.0"
    digits, power = grisu2.digits(abs(value))
    point = len(digits) + power  # the decimal point stands after so many digits
    if power >= 0 and point <= 21:
        return f"{sign}{digits}{'0' * power}.0"
    if 0 < point <= 21:
        return f"{sign}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    tail = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{tail}e{point - 1}"
