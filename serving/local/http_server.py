"""The HTTP server beneath the REST API: connections, deadlines, libevent's answers to what is no HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus

from aiohttp import web

from serving.local.limits import Limits

_SERVER = "catsdogs local server"

Respond = Callable[[web.BaseRequest], AbstractAsyncContextManager[web.Response]]


def runner(respond: Respond, limits: Limits) -> web.ServerRunner:
    """Returns the server to set up and give a site; to be called on the event loop that runs it.

    Args:
        respond: Gives the response to one request, whose path and body are as they came; left when the
            response is written.
        limits: What requests may cost.
    """
    return _Runner(_Answers(respond, limits), limits)


def error_page(status: int) -> web.Response:
    """Returns libevent's answer to what no handler takes; it closes the connection."""
    phrase = HTTPStatus(status).phrase
    text = (
        f"<HTML><HEAD>\n<TITLE>{status} {phrase}</TITLE>\n</HEAD><BODY>\n<H1>{phrase}</H1>\n</BODY></HTML>\n"
    )
    headers = {"Content-Type": "text/html", "Server": _SERVER}
    response = web.Response(status=status, body=text.encode(), headers=headers)
    response.force_close()
    return response


class _Answers:
    """Answers requests, and knows how many are under way."""

    def __init__(self, respond: Respond, limits: Limits) -> None:
        self._respond = respond
        self._seconds = limits.request_timeout_seconds
        self._under_way = 0
        self._stopping = False

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answers one request."""
        self._under_way += 1
        try:
            return await self._answer(request)
        finally:
            self._under_way -= 1

    async def finish(self) -> None:
        """Waits until all requests are answered; each has its time limits."""
        self._stopping = True
        while self._under_way:
            await asyncio.sleep(0.01)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Writes the answer; a caller that does not take it is cut off."""
        async with self._respond(request) as response:
            if self._stopping:
                response.force_close()
            response.headers["Server"] = _SERVER
            try:
                async with asyncio.timeout(self._seconds):
                    await response.prepare(request)
                    await response.write_eof()
            except TimeoutError:
                if request.transport:
                    request.transport.abort()
            return response


class _Runner(web.ServerRunner):
    """Answers what is under way before it closes connections; aiohttp drops bodies that still arrive then."""

    def __init__(self, answers: _Answers, limits: Limits) -> None:
        super().__init__(_Server(answers, limits))
        self._answers = answers

    async def cleanup(self) -> None:
        for site in list(self.sites):
            await site.stop()
        await self._answers.finish()
        await super().cleanup()


class _Server(web.Server):
    def __init__(self, answers: _Answers, limits: Limits) -> None:
        super().__init__(answers.answer)
        self._idle_seconds = limits.idle_timeout_seconds

    def __call__(self) -> _Connection:
        return _Connection(
            self,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # none is kept
            auto_decompress=False,
            keepalive_timeout=self._idle_seconds,  # holds for the first request's head too
        )


class _Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answers what is no HTTP."""
        if request.writer.output_size > 0:
            raise ConnectionError("An answer is under way already.")
        return error_page(status)
