"""TensorFlow Serving's REST protocol."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import os
import ssl
import threading
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import yarl

from serving.client.transport import (
    ModelSpec,
    Prediction,
    RequestRejected,
    Retries,
    TryAgain,
    Unreachable,
    VersionStatus,
    is_here,
    no_server,
    one_line,
    prediction,
)
from serving.errors import ServingError, UsageError

_PASSING = {502, 503, 504}  # restarting behind a proxy, overloaded, too slow
_CODES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "RESOURCE_EXHAUSTED",
    429: "RESOURCE_EXHAUSTED",
    501: "UNIMPLEMENTED",
}
_CONNECT_SECONDS = 5.0
_MAX_ANSWER_BYTES = 2**24
_RESOLVED_ANEW = 3  # times, when the version that was just named is gone


@dataclass(frozen=True)
class _Connections:
    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    closed: asyncio.Event

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended with the interpreter
            self.loop.call_soon_threadsafe(self.closed.set)


class RestTransport:
    """Asks one model over REST. Threads may share it.

    aiohttp does the work, in a thread of its own: it bounds a request as a whole, whatever the server
    does, and the caller may have an event loop or none.

    Args:
        url: The server's address, with whatever path a proxy wants before `/v1`.
        model: Which model is asked.
        retries: How often and how long.
        tell_version: Ask first which version would answer and name it in the request, because the answer
            does not tell. One small request more for each call.
    """

    def __init__(self, url: str, model: ModelSpec, retries: Retries, tell_version: bool) -> None:
        self.where = url
        self._url = f"{url}/v1/models/{quote(model.name, safe='')}"
        self._model = model
        self._retries = retries
        self._tell_version = tell_version
        tls = _trusted() if url.startswith("https:") else True
        ready: Future[_Connections] = Future()
        threading.Thread(target=lambda: asyncio.run(_hold_connections(url, tls, ready)), daemon=True).start()
        self._connections = ready.result()
        # A finalizer, because a caller may forget to close.
        self._close = weakref.finalize(self, self._connections.close)

    def predict(self, pictures: Sequence[bytes]) -> list[Prediction]:
        """Returns what the model says, in the order of the pictures.

        Raises:
            Refused: The server's refusal of all of them.
            ServingError: It cannot be reached, or is no such server.
        """
        rows = [{"b64": base64.b64encode(picture).decode("ascii")} for picture in pictures]
        body = json.dumps({"instances": rows}).encode()
        if not self._tell_version or self._model.version is not None:
            return self._predict(body, len(rows), self._model.version, self._selector())
        for _ in range(_RESOLVED_ANEW):
            version = int(self.metadata()["model_spec"]["version"])
            try:
                return self._predict(body, len(rows), version, f"/versions/{version}")
            except RequestRejected as refused:
                gone = refused
                if refused.code != "NOT_FOUND":  # else it was replaced between the two requests
                    raise
        raise gone

    def metadata(self) -> dict[str, Any]:
        """Returns `{"model_spec": {"name", "version"}, "metadata": {"signature_def": …}}`."""
        answer = self._send("GET", f"{self._selector()}/metadata")
        try:
            int(answer["model_spec"]["version"])
        except (KeyError, TypeError, ValueError):
            raise self._stranger("what is no metadata") from None
        return answer

    def status(self) -> list[VersionStatus]:
        """Returns the versions that the server knows."""
        selector = "" if self._model.version is None else f"/versions/{self._model.version}"
        answer = self._send("GET", selector)
        try:
            return [
                VersionStatus(
                    int(one["version"]), one["state"], one.get("status", {}).get("error_message", "")
                )
                for one in answer["model_version_status"]
            ]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._stranger("what is no status of a model") from None

    def close(self) -> None:
        """Closes the connections."""
        self._close()

    def _selector(self) -> str:
        if self._model.version is not None:
            return f"/versions/{self._model.version}"
        return "" if self._model.label is None else f"/labels/{quote(self._model.label, safe='')}"

    def _predict(self, body: bytes, count: int, version: int | None, selector: str) -> list[Prediction]:
        answer = self._send("POST", f"{selector}:predict", body)
        rows = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or len(rows) != count:
            raise self._stranger(f"what are not {count} predictions")
        return [prediction(row, version, self.where) for row in rows]

    def _send(self, method: str, path: str, body: bytes | None = None) -> Any:
        def attempt(seconds: float) -> Any:
            work = self._try(method, self._url + path, body, seconds)
            sent = asyncio.run_coroutine_threadsafe(work, self._connections.loop)
            try:
                return sent.result()
            except BaseException:  # an interrupt ends the request, too
                sent.cancel()
                raise

        return self._retries.run(attempt)

    async def _try(self, method: str, url: str, body: bytes | None, seconds: float) -> Any:
        try:
            async with self._connections.session.request(
                method,
                yarl.URL(url, encoded=True),
                data=None if body is None else io.BytesIO(body),
                headers={"Content-Type": "application/json"} if body else None,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS),
                allow_redirects=False,  # a redirected POST would go on as a GET
            ) as response:
                return self._answer(response, await self._read(response))
        except aiohttp.ClientSSLError as error:
            raise ServingError(
                f"{self.where} does not speak TLS, or cannot prove who it is ({error.__cause__}): begin the "
                "address with http://, or name the authority's certificate in REQUESTS_CA_BUNDLE."
            ) from None
        except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
            raise TryAgain(
                Unreachable(f"{self.where} cannot be reached through the proxy that is set: {error}.")
            ) from None
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
            raise no_server(self.where) from None
        except TimeoutError:
            raise TryAgain(
                Unreachable(
                    f"{self.where} takes a request and gives no answer within {self._retries.timeout:g} s: "
                    "it may be overloaded, or no TensorFlow Serving."
                )
            ) from None
        except aiohttp.ClientResponseError as error:
            raise self._stranger(f"what is not HTTP ({error.message.splitlines()[0]})") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise TryAgain(
                Unreachable(
                    f"{self.where} closes the connection in the middle ({error}): it may be restarting, or "
                    "refuse requests of this size."
                )
            ) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise ServingError(f"{self.where} cannot be asked: {error}.") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(2**16):
            body += chunk
            if len(body) > _MAX_ANSWER_BYTES:
                raise self._stranger(f"more than {_MAX_ANSWER_BYTES >> 20} MiB")
        return bytes(body)

    def _answer(self, response: aiohttp.ClientResponse, body: bytes) -> Any:
        status = response.status
        try:
            answer = json.loads(body)
        except (ValueError, RecursionError):
            answer = None
        said = answer.get("error") if isinstance(answer, dict) else None
        after = _retry_after(response.headers)
        if status in _PASSING or (status == 429 and after is not None):
            text = one_line(said or response.reason or "no reason given")
            raise TryAgain(Unreachable(f"{self.where} cannot answer now ({status}): {text}."), after)
        if status == 200 and said is None and answer is not None:
            return answer
        if said is None and status != 413:  # a proxy's limit comes without the server's words
            raise self._stranger("what is no JSON" if status == 200 else f"{status} {response.reason}")
        text = str(said or response.reason)
        raise RequestRejected(
            f"{self.where} refuses ({status}): {one_line(text)}.", _CODES.get(status, "UNKNOWN"), text
        )

    def _stranger(self, answer: str) -> ServingError:
        return ServingError(
            f"{self.where} is not TensorFlow Serving's REST port, usually 8501: it answers with {answer}."
        )


async def _hold_connections(url: str, tls: ssl.SSLContext | bool, ready: Future[_Connections]) -> None:
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    async with aiohttp.ClientSession(connector=connector, trust_env=not is_here(url)) as session:
        connections = _Connections(asyncio.get_running_loop(), session, asyncio.Event())
        ready.set_result(connections)
        await connections.closed.wait()


def _trusted() -> ssl.SSLContext:
    import certifi  # for TLS alone

    path = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise UsageError(
            f"{path}, which REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE names, holds no certificates: {error}."
        ) from None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
