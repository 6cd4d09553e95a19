"""The bytes that a serialized `tf.Example` holds, found as TensorFlow's own parser finds them.

That one is more lenient than protobuf's: it passes over unknown fields, and names that are no UTF-8. What it
could take for a value has to be found here, so that no picture gets past a look at it; more does no harm.
"""

from __future__ import annotations

from collections.abc import Iterator

_PATH = (1, 1, 2, 1, 1)  # Example.features, its entries, an entry's value, its bytes_list, the list's values
_MOST_FIELDS = 100_000
_VARINT, _EIGHT_BYTES, _MESSAGE, _FOUR_BYTES = 0, 1, 2, 5


class TooManyFields(Exception):
    """An Example with more fields than are looked at."""


def values(serialized: bytes) -> Iterator[bytes]:
    """Yields what may be a value of a bytes feature; nothing for what is no `tf.Example`.

    Args:
        serialized: Any bytes.

    Raises:
        TooManyFields: It would take too long.
    """
    fields = 0
    messages = [(0, len(serialized), 0)]  # where each begins and ends, and how deep it lies
    while messages:
        at, end, depth = messages.pop()
        while at < end:
            fields += 1
            if fields > _MOST_FIELDS:
                raise TooManyFields
            tag, at = _varint(serialized, at)
            kind, number = tag & 7, tag >> 3
            if number == 0:
                break
            if kind == _VARINT:
                _, at = _varint(serialized, at)
            elif kind == _EIGHT_BYTES:
                at += 8
            elif kind == _FOUR_BYTES:
                at += 4
            elif kind == _MESSAGE:
                length, at = _varint(serialized, at)
                if at + length > end:
                    break
                if number == _PATH[depth]:
                    if depth + 1 == len(_PATH):
                        yield serialized[at : at + length]
                    else:
                        messages.append((at, at + length, depth + 1))
                at += length
            else:  # TensorFlow takes no groups, and no text is likely to get past its first letters
                break


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Returns the number at a place, cut to 32 bits as TensorFlow cuts it, and the place behind it."""
    result = 0
    for index, byte in enumerate(data[at : at + 10]):
        result |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return result & 0xFFFFFFFF, at + index + 1
    return 0, len(data)  # no number: as a tag or a length it ends the message
