"""Which split a picture goes to: decided by its bytes alone, so that identical pictures stay together."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


def digest(data: bytes) -> bytes:
    """Returns what identifies a picture's bytes."""
    return hashlib.sha256(data).digest()


def assign(identity: bytes, shares: Mapping[str, float], seed: int, allowed: Sequence[str]) -> str:
    """Returns the split of a picture.

    Args:
        identity: `digest` of its bytes.
        shares: The share of every split.
        seed: Another seed gives another partition.
        allowed: The splits it may go to; their shares are scaled to sum to 1.

    Returns:
        One of `allowed`.
    """
    drawn = hashlib.sha256(b"%d:%b" % (seed, identity)).digest()
    position = int.from_bytes(drawn[:8]) / 2**64 * sum(shares[split] for split in allowed)
    for split in allowed:
        position -= shares[split]
        if position < 0:
            return split
    return allowed[-1]  # rounding
