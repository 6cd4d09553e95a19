"""Reads requests' bodies within bounds: of each one's size, of all and their answers, and of time."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import AsyncIterator

from aiohttp import web

from serving.local.limits import MIB, Limits

MAX_INFLATED_BYTES = 100 * MIB
"""TensorFlow Serving's bound for a gzipped body, compared with the length that its end claims."""


class Refused(Exception):
    """A body that is not read, or not to its end.

    Attributes:
        status: HTTP's.
        reason: For the caller.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class Bodies:
    """Counts what the requests under way hold.

    Args:
        limits: What they may cost.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._requests = 0
        self._bytes = 0

    @contextlib.asynccontextmanager
    async def read(self, request: web.BaseRequest) -> AsyncIterator[Pending]:
        """Reads a request's body, and counts it, then its answer, until the block is left.

        Raises:
            Refused: It is too large (413), too slow (408), cut short (400), or one too many (503).
        """
        if self._requests >= self._limits.max_requests:
            raise Refused(503, f"The server is busy with {self._requests} requests. Try again later.")
        pending = Pending(self)
        self._requests += 1
        try:
            pending.body = await self._read(request, pending)
            yield pending
        finally:
            self._requests -= 1
            pending.take(-pending.bytes)

    def take(self, count: int) -> None:
        """Counts bytes that are about to be held; negative ones are given back."""
        if count > 0 and self._bytes + count > self._limits.max_pending_bytes:
            raise Refused(503, f"The server holds {self._bytes} bytes of requests already. Try again later.")
        self._bytes += count

    async def _read(self, request: web.BaseRequest, pending: Pending) -> bytes:
        limit = self._limits.max_body_bytes
        announced = request.content_length or 0
        if announced > limit:
            raise _too_large(str(announced), limit)
        pending.take(announced)
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        pieces: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self._limits.body_timeout_seconds):
                async for piece in request.content.iter_any():
                    size += len(piece)
                    if size > limit:
                        raise _too_large(f"{size} or more", limit)
                    pending.take(max(size - pending.bytes, 0))
                    pieces.append(piece)
        except TimeoutError:
            seconds = self._limits.body_timeout_seconds
            raise Refused(408, f"The body did not arrive within {seconds:g} seconds.") from None
        except (web.RequestPayloadError, OSError) as error:  # bad chunks, or the caller has gone
            raise Refused(400, f"The body was cut short: {error}") from error
        body = b"".join(pieces)
        if "gzip" not in request.headers.get("Content-Encoding", ""):
            return body
        claimed = _claimed(body)
        if claimed > MAX_INFLATED_BYTES:
            return b""
        pending.take(claimed)
        return await asyncio.to_thread(inflated, body)


def inflated(body: bytes) -> bytes:
    """Returns a gzipped body's content; nothing, as TensorFlow Serving, where it is not what it claims."""
    claimed = _claimed(body)
    decoder = zlib.decompressobj(wbits=31)
    try:
        content = decoder.decompress(body, claimed + 1)
    except zlib.error:
        return b""
    return content if decoder.eof and len(content) == claimed and not decoder.unused_data else b""


def _claimed(body: bytes) -> int:
    """Returns the length that the end of a gzipped body gives for its content."""
    return int.from_bytes(body[-4:], "little") if len(body) > 4 else 0


def _too_large(size: str, limit: int) -> Refused:
    return Refused(413, f"The body has {size} bytes; this server takes at most {limit} (--max-body-bytes).")


class Pending:
    """What one request holds.

    Attributes:
        body: The request's.
        bytes: How many are counted.
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.body = b""
        self.bytes = 0

    def take(self, count: int) -> None:
        """Counts bytes that are about to be held; negative ones are given back."""
        self._bodies.take(count)
        self.bytes += count

    def answered(self, answer: bytes) -> None:
        """Lets go of the request, and counts its answer.

        Raises:
            Refused: It is too much beside all else that is held (503).
        """
        self.body = b""
        self.take(-self.bytes)
        self.take(len(answer))
