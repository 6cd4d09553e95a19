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

from serving.client.protocol import (
    MAX_RESPONSE_BYTES,
    ModelSpec,
    Prediction,
    RequestRejected,
    Unreachable,
    VersionStatus,
    is_local,
    no_server_error,
    parse_prediction,
    parse_version,
    single_line,
)
from serving.client.retries import RetryableError, RetryPolicy
from serving.errors import ServingError, UsageError

_RETRYABLE = {502, 503, 504}  # restarting behind a proxy, overloaded, too slow
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
_VERSION_ATTEMPTS = 3  # the version may be replaced between the two requests


@dataclass(frozen=True)
class _Connections:
    loop: asyncio.AbstractEventLoop
    session: aiohttp.ClientSession
    closed: asyncio.Event

    def close(self) -> None:
        with contextlib.suppress(RuntimeError):  # the loop ended with the interpreter
            self.loop.call_soon_threadsafe(self.closed.set)


class RestTransport:
    """Sends requests to one model over REST. Thread-safe.

    Runs aiohttp in a separate thread: aiohttp limits the total time of a request, even if the server sends
    slowly, and callers may or may not have an event loop.

    Args:
        url: URL of the server, with the path before `/v1` if a proxy needs one.
        model: The model, with version or label.
        retries: Number of retries and time limit.
        include_version: Requests the current version first and names it in the prediction request, because
            REST responses do not contain it.
    """

    def __init__(self, url: str, model: ModelSpec, retries: RetryPolicy, include_version: bool) -> None:
        self.url = url
        self._model_url = f"{url}/v1/models/{quote(model.name, safe='')}"
        self._model = model
        self._retries = retries
        self._include_version = include_version
        tls = _tls_context() if url.startswith("https:") else True
        ready: Future[_Connections] = Future()
        threading.Thread(target=lambda: asyncio.run(_hold_connections(url, tls, ready)), daemon=True).start()
        self._connections = ready.result()
        # A finalizer, in case the caller does not close the client.
        self._close = weakref.finalize(self, self._connections.close)

    def predict(self, images: Sequence[bytes]) -> list[Prediction]:
        """Returns the predictions, in the order of the images.

        Raises:
            RequestRejected: The server rejects the request.
            ServingError: The server cannot be reached or sends an unexpected response.
        """
        rows = [{"b64": base64.b64encode(image).decode("ascii")} for image in images]
        body = json.dumps({"instances": rows}).encode()
        if not self._include_version or self._model.version is not None:
            return self._predict(body, len(rows), self._model.version, self._selector())
        for _ in range(_VERSION_ATTEMPTS):
            version = parse_version(self.metadata()["model_spec"]["version"])
            try:
                return self._predict(body, len(rows), version, f"/versions/{version}")
            except RequestRejected as error:
                not_found = error
                if error.code != "NOT_FOUND":
                    raise
        raise not_found

    def metadata(self) -> dict[str, Any]:
        """Returns `{"model_spec": {"name", "version"}, "metadata": {"signature_def": …}}`."""
        response = self._send("GET", f"{self._selector()}/metadata")
        try:
            parse_version(response["model_spec"]["version"])
        except (KeyError, TypeError, ValueError):
            raise self._unexpected_response("without model metadata") from None
        return response

    def status(self) -> list[VersionStatus]:
        """Returns the status of each version."""
        selector = "" if self._model.version is None else f"/versions/{self._model.version}"
        response = self._send("GET", selector)
        try:
            return [_parse_status(status) for status in response["model_version_status"]]
        except (AttributeError, KeyError, TypeError, ValueError):
            raise self._unexpected_response("without a model status") from None

    def close(self) -> None:
        """Closes the connections."""
        self._close()

    def _selector(self) -> str:
        if self._model.version is not None:
            return f"/versions/{self._model.version}"
        return "" if self._model.label is None else f"/labels/{quote(self._model.label, safe='')}"

    def _predict(self, body: bytes, count: int, version: int | None, selector: str) -> list[Prediction]:
        response = self._send("POST", f"{selector}:predict", body)
        rows = response.get("predictions") if isinstance(response, dict) else None
        if not isinstance(rows, list) or len(rows) != count:
            raise self._unexpected_response(f"without {count} predictions")
        return [parse_prediction(row, version, self.url) for row in rows]

    def _send(self, method: str, path: str, body: bytes | None = None) -> Any:
        def attempt(seconds: float) -> Any:
            request = self._request(method, self._model_url + path, body, seconds)
            future = asyncio.run_coroutine_threadsafe(request, self._connections.loop)
            try:
                return future.result()
            except BaseException:  # for example an interrupt
                future.cancel()
                raise

        return self._retries.run(attempt)

    async def _request(self, method: str, url: str, body: bytes | None, seconds: float) -> Any:
        try:
            async with self._connections.session.request(
                method,
                yarl.URL(url, encoded=True),
                data=None if body is None else io.BytesIO(body),
                headers={"Content-Type": "application/json"} if body else None,
                timeout=aiohttp.ClientTimeout(total=seconds, sock_connect=_CONNECT_SECONDS),
                allow_redirects=False,  # a redirected POST would become a GET
            ) as response:
                return self._parse(response, await self._read(response))
        except aiohttp.ClientSSLError as error:
            raise ServingError(
                f"{self.url} does not use TLS, or its certificate is not trusted ({error.__cause__}): use "
                "http://, or set REQUESTS_CA_BUNDLE to the certificate of your authority."
            ) from None
        except (aiohttp.ClientProxyConnectionError, aiohttp.ClientHttpProxyError) as error:
            raise RetryableError(
                Unreachable(
                    f"{self.url} cannot be reached through the configured proxy: {single_line(error)}."
                )
            ) from None
        except (aiohttp.ConnectionTimeoutError, aiohttp.ClientConnectorError):
            raise no_server_error(self.url) from None
        except TimeoutError:
            raise RetryableError(
                Unreachable(
                    f"{self.url} accepts the request but sends no response within {self._retries.timeout:g} "
                    "s: it may be overloaded, or not TensorFlow Serving."
                )
            ) from None
        except aiohttp.ClientResponseError as error:
            raise self._unexpected_response(f"that is not HTTP ({single_line(error.message)})") from None
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            raise RetryableError(
                Unreachable(
                    f"{self.url} closed the connection during the request ({single_line(error)}): it may be "
                    "restarting, or reject requests of this size."
                )
            ) from None
        except (aiohttp.ClientError, ValueError) as error:
            raise ServingError(f"The request to {self.url} failed: {single_line(error)}.") from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(2**16):
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise self._unexpected_response(f"of more than {MAX_RESPONSE_BYTES >> 20} MiB")
        return bytes(body)

    def _parse(self, response: aiohttp.ClientResponse, body: bytes) -> Any:
        status = response.status
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            content = None
        message = content.get("error") if isinstance(content, dict) else None
        after = _retry_after(response.headers)
        if status in _RETRYABLE or (status == 429 and after is not None):
            text = single_line(message or response.reason or "no reason given")
            raise RetryableError(Unreachable(f"{self.url} is unavailable ({status}): {text}."), after)
        if status == 200 and message is None and content is not None:
            return content
        if message is None and status != 413:  # a proxy's 413 has no JSON body
            raise self._unexpected_response(
                "that is not JSON" if status == 200 else f"with status {status} {response.reason}"
            )
        text = str(message or response.reason or "no reason given")
        raise RequestRejected(
            f"{self.url} rejects the request ({status}): {single_line(text)}.",
            _CODES.get(status, "UNKNOWN"),
            text,
        )

    def _unexpected_response(self, description: str) -> ServingError:
        return ServingError(
            f"{self.url} is not TensorFlow Serving's REST port, usually 8501: it sent a response "
            f"{description}."
        )


async def _hold_connections(url: str, tls: ssl.SSLContext | bool, ready: Future[_Connections]) -> None:
    connector = aiohttp.TCPConnector(limit=0, ssl=tls)
    async with aiohttp.ClientSession(connector=connector, trust_env=not is_local(url)) as session:
        connections = _Connections(asyncio.get_running_loop(), session, asyncio.Event())
        ready.set_result(connections)
        await connections.closed.wait()


def _parse_status(status: Any) -> VersionStatus:
    state, error = status["state"], status.get("status", {}).get("error_message", "")
    if not (isinstance(state, str) and isinstance(error, str)):
        raise TypeError
    return VersionStatus(parse_version(status["version"]), state, error)


def _tls_context() -> ssl.SSLContext:
    import certifi  # needed for TLS only

    path = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    try:
        if Path(path).is_dir():
            return ssl.create_default_context(capath=path)
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        raise UsageError(
            f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE is {path}, which has no certificates: {error}."
        ) from None


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    return float(value) if value.isdecimal() else None
