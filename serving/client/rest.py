"""TensorFlow Serving's REST protocol."""

from __future__ import annotations

import base64
import contextlib
import email.utils
import json
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlsplit

import requests
import urllib3

from serving.client import watched
from serving.client.address import Model, is_here
from serving.client.answers import Prediction, Refused, Unreachable, VersionStatus, prediction
from serving.client.retries import Retries, TryAgain
from serving.errors import ServingError

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
_MAX_ANSWER_BYTES = 16 * 2**20  # a batch's answer has some kilobytes
_RESOLVED_ANEW = 3  # times, when the version that was just named is gone


class RestTransport:
    """Asks one model over REST. Threads may share it: each request has a connection of its own.

    Args:
        url: The server's address, with whatever path a proxy wants before `/v1`.
        model: Which model is asked.
        retries: How often and how long.
        tell_version: Ask first which version would answer and name it in the request, because the answer
            does not tell. One small request more for each call.
    """

    def __init__(self, url: str, model: Model, retries: Retries, tell_version: bool) -> None:
        self.where = url
        self._url = f"{url}/v1/models/{quote(model.name, safe='')}"
        self._model = model
        self._retries = retries
        self._tell_version = tell_version
        self._idle: deque[requests.Session] = deque()

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
            except Refused as refusal:
                gone = refusal
                if refusal.code != "NOT_FOUND":  # else it was replaced between the two requests
                    raise
        raise gone

    def metadata(self) -> dict[str, Any]:
        """Returns `{"model_spec": {"name", "version"}, "metadata": {"signature_def": …}}`."""
        answer = self._ask("GET", f"{self._selector()}/metadata")
        if not isinstance(answer, dict) or "version" not in answer.get("model_spec", {}):
            raise self._stranger("what is no metadata")
        return answer

    def status(self) -> list[VersionStatus]:
        """Returns the versions that the server knows."""
        selector = "" if self._model.version is None else f"/versions/{self._model.version}"
        answer = self._ask("GET", selector)
        if not isinstance(answer, dict) or not isinstance(answer.get("model_version_status"), list):
            raise self._stranger("what is no status of a model")
        return [
            VersionStatus(int(one["version"]), one["state"], one.get("status", {}).get("error_message", ""))
            for one in answer["model_version_status"]
        ]

    def close(self) -> None:
        """Closes the connections."""
        while self._idle:
            self._idle.pop().close()

    def _selector(self) -> str:
        if self._model.version is not None:
            return f"/versions/{self._model.version}"
        return "" if self._model.label is None else f"/labels/{quote(self._model.label, safe='')}"

    def _predict(self, body: bytes, count: int, version: int | None, selector: str) -> list[Prediction]:
        answer = self._ask("POST", f"{selector}:predict", body)
        rows = answer.get("predictions") if isinstance(answer, dict) else None
        if not isinstance(rows, list) or len(rows) != count:
            raise self._stranger(f"what are not {count} predictions")
        return [prediction(row, version, self.where) for row in rows]

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        return self._retries.run(lambda seconds: self._try(method, self._url + path, body, seconds))

    def _try(self, method: str, url: str, body: bytes | None, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        try:
            with self._session() as session:
                response = session.request(
                    method,
                    url,
                    data=body,
                    headers={"Content-Type": "application/json"} if body else None,
                    timeout=(min(seconds, _CONNECT_SECONDS), seconds),
                    allow_redirects=False,  # requests would go on with a GET
                    stream=True,
                )
                answer = self._read(response)
        except requests.exceptions.SSLError as error:
            raise ServingError(
                f"{self.where} does not speak TLS, or cannot prove who it is ({_reason(error)}): begin the "
                "address with http://, or name the authority's certificate in REQUESTS_CA_BUNDLE."
            ) from None
        except requests.exceptions.ConnectTimeout:
            raise TryAgain(no_server(self.where)) from None
        except requests.exceptions.Timeout:
            raise TryAgain(self._late()) from None
        except (requests.exceptions.ConnectionError, requests.exceptions.ChunkedEncodingError) as error:
            late = time.monotonic() >= deadline
            raise TryAgain(self._late() if late else self._broken(error)) from None
        except (requests.exceptions.RequestException, ValueError) as error:
            raise ServingError(f"{self.where} cannot be asked: {_reason(error)}.") from None
        if time.monotonic() >= deadline:  # where the connection's end is the answer's, it may be cut
            raise TryAgain(self._late())
        return self._answer(response, answer)

    def _read(self, response: requests.Response) -> bytes:
        read = bytearray()
        try:
            for chunk in response.iter_content(2**16):
                read += chunk
                if len(read) > _MAX_ANSWER_BYTES:
                    response.close()
                    raise self._stranger(f"more than {_MAX_ANSWER_BYTES // 2**20} MiB")
        finally:
            watched.done(response)
        return bytes(read)

    def _answer(self, response: requests.Response, body: bytes) -> Any:
        status = response.status_code
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
            raise self._stranger(
                "what is no JSON" if status == 200 else f"{status} {response.reason}".strip()
            )
        text = one_line(said or response.reason or "")
        raise Refused(
            f"{self.where} refuses ({status}): {text}.", _CODES.get(status, "UNKNOWN"), str(said or text)
        )

    @contextlib.contextmanager
    def _session(self) -> Iterator[requests.Session]:
        try:
            session = self._idle.pop()
        except IndexError:
            session = watched.Session()
            if self.where.startswith("http:") and is_here(urlsplit(self.where).hostname):
                session.trust_env = False
        try:
            yield session
        finally:
            self._idle.append(session)

    def _broken(self, error: requests.exceptions.RequestException) -> Unreachable:
        cause = error.args[0] if error.args else error
        if isinstance(getattr(cause, "reason", None), urllib3.exceptions.NewConnectionError):
            return no_server(self.where)
        return Unreachable(
            f"{self.where} closes the connection in the middle ({_reason(error)}): it may be restarting, or "
            "refuse requests of this size."
        )

    def _late(self) -> Unreachable:
        return Unreachable(
            f"{self.where} takes a request and gives no answer within {self._retries.timeout:g} s: "
            "it may be overloaded, or no TensorFlow Serving."
        )

    def _stranger(self, answer: str) -> ServingError:
        return ServingError(
            f"{self.where} is not TensorFlow Serving's REST port, usually 8501: it answers with {answer}."
        )


def no_server(where: str) -> Unreachable:
    """Returns the error of an address where nothing listens."""
    return Unreachable(
        f"No server answers at {where}: start one with catsdogs serve, or name another with --url."
    )


def one_line(text: object) -> str:
    """Returns a server's words for the middle of a sentence."""
    return " ".join(str(text).split()).rstrip(".")


def _reason(error: BaseException) -> str:
    return one_line(getattr(error.args[0] if error.args else error, "reason", None) or error)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    value = headers.get("Retry-After", "")
    if value.isdecimal():
        return float(value)
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
