"""Assigns images to splits by a hash of their bytes, so that identical images get the same split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence


def digest(data: bytes) -> bytes:
    """Returns the SHA-256 of an image's bytes, 32 bytes long."""
    return hashlib.sha256(data).digest()


def assign_split(image_digest: bytes, shares: Mapping[str, float], seed: int, allowed: Sequence[str]) -> str:
    """Returns the split of an image.

    Args:
        image_digest: `digest` of its bytes.
        shares: The share of every split.
        seed: Seed of the assignment to splits.
        allowed: The splits to choose from; their shares are scaled to sum to 1.

    Returns:
        One of `allowed`.
    """
    hashed = hashlib.sha256(b"%d:%b" % (seed, image_digest)).digest()
    position = int.from_bytes(hashed[:8]) / 2**64 * sum(shares[split] for split in allowed)
    for split in allowed:
        position -= shares[split]
        if position < 0:
            return split
    return allowed[-1]  # rounding
