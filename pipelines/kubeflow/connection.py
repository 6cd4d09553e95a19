"""The connection to a Kubeflow Pipelines server, and what its errors mean."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.errors import InputError, PipelineError
from pipelines.kubeflow.login import Login, in_a_header

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about KFP's own future
    import google.auth.exceptions
    import kfp.client
    import urllib3
    from kfp_server_api import exceptions, rest

_TIME_LIMITS = (10, 120)  # seconds to connect, and to wait for an answer
_GATEWAY = {502, 503, 504}


class Unreachable(PipelineError):
    """No answer, or none of the server itself: worth another try."""


class LoginRefused(PipelineError):
    """The server asks who this is, or does not accept what it was told."""


class ServerRefused(PipelineError):
    """The server answered, and does not do what it was asked to.

    Attributes:
        status: The HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def connect(login: Login) -> Client:
    """Returns a client whose server has answered.

    Args:
        login: What the user gave, resolved.

    Raises:
        InputError: A file, or something that is shown to the server, is wrong.
        PipelineError: The server cannot be reached, is no Kubeflow Pipelines, or refuses.
    """
    credentials = _TokenFile(login.token_file) if login.token_file else None
    try:
        with _quiet():
            client = Client(
                login,
                host=login.endpoint,
                existing_token=login.token,
                credentials=credentials,
                cookies=login.cookies,
                ssl_ca_cert=str(login.ca_cert) if login.ca_cert else None,
            )
            client.get_kfp_healthz()
    except json.JSONDecodeError as error:
        where = kfp.client.Client._LOCAL_KFP_CONTEXT
        raise InputError(f"KFP's context file {where} is not JSON ({error}): correct or remove it.") from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise LoginRefused(f"Google gives no token for {login.endpoint}: {_one_line(error)}.") from None
    return client


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps KFP's prints and warnings from the user, who is told the same in the project's words."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


class _TokenFile(kfp.client.TokenCredentialsBase):
    """A token that its owner renews in a file; KFP's own class for it logs what it cannot read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refresh_api_key_hook(self, config: Any) -> None:
        """Reads the file, before each request."""
        try:
            token = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise LoginRefused(f"The token file {self._path} cannot be read: {_one_line(error)}.") from None
        if not token:
            raise LoginRefused(f"The token file {self._path} is empty.")
        config.api_key["authorization"] = in_a_header(f"token in {self._path}", token)


class Client(kfp.client.Client):
    """KFP's client with time limits and errors that say what to do.

    Args:
        login: Where it is, and what is shown, for the errors.
        **how: As KFP's.
    """

    def __init__(self, login: Login, **how: Any) -> None:
        self.login = login
        super().__init__(**how)

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Asks once whether the server is well; KFP's constructor does so too, and would ask five times."""
        api_client = self._healthz_api.api_client
        if not isinstance(api_client.rest_client, _Requests):
            api_client.rest_client = _Requests(self.login, api_client.configuration)
        return self._healthz_api.healthz_service_get_healthz()

    # KFP prints the pages of what it makes, in words of its own.

    def create_experiment(self, *what: Any, **how: Any) -> Any:
        """As KFP's."""
        with _quiet():
            return super().create_experiment(*what, **how)

    def run_pipeline(self, *what: Any, **how: Any) -> Any:
        """As KFP's."""
        with _quiet():
            return super().run_pipeline(*what, **how)

    def upload_pipeline_version(self, *what: Any, **how: Any) -> Any:
        """As KFP's."""
        with _quiet():
            return super().upload_pipeline_version(*what, **how)

    def log_of(self, run_id: str, pod: str) -> str:
        """Returns the log of a pod of a run; empty where the server does not have it."""
        log = self._run_api.api_client.call_api(
            "/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log",  # KFP has no other, and no method for it
            "GET",
            path_params={"run_id": run_id, "pod": pod},
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
        )
        return log if isinstance(log, str) else ""  # else an error, which comes with status 200

    def link(self, path: str) -> str:
        """Returns the address of a page of the user interface."""
        return f"{self._get_url_prefix()}/#/{path}"


class _Requests(rest.RESTClientObject):
    """Sends requests; every error leaves here as a PipelineError."""

    def __init__(self, login: Login, configuration: Any) -> None:
        self._login = login
        # KFP has it tell of every try; the last one is told here.
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        try:
            ssl.create_default_context(cafile=configuration.ssl_ca_cert)
        except OSError as error:
            raise InputError(
                f"The CA certificate {login.ca_cert} cannot be used: {_one_line(error)}."
            ) from None
        super().__init__(configuration)

    def request(self, method: str, url: str, **how: Any) -> Any:
        how["_request_timeout"] = how.get("_request_timeout") or _TIME_LIMITS
        try:
            response = super().request(method, url, **how)
        except exceptions.ApiException as error:
            raise self._refusal(error.status or 0, error.reason, error.body) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(error) from None
        except ValueError:  # of http.client, about a header, which it quotes
            raise InputError(
                f"What is to be shown to {self._login.endpoint} cannot be sent: the cookie in KFP's context "
                "file, or a token, has several lines, or characters that are not ASCII."
            ) from None
        if "text/html" in (response.urllib3_response.headers.get("content-type") or ""):
            raise self._page(response.urllib3_response.geturl())
        return response

    def _refusal(self, status: int, reason: str | None, body: bytes | None) -> PipelineError:
        endpoint, secret = self._login.endpoint, self._login.secret
        said = _said(body) or reason or ""
        if status == 401 and secret:
            return LoginRefused(f"{endpoint} refuses the {secret} (401): it may have expired; get a new one.")
        if status == 401:
            return LoginRefused(f"{endpoint} asks for a login (401): {_HOW_TO_LOG_IN}.")
        if status == 403 and not secret:
            return LoginRefused(f"{endpoint} asks for a login (403): {_HOW_TO_LOG_IN}.")
        if status == 403:
            return LoginRefused(
                f"{endpoint} does not let the owner of the {secret} do this (403): {said}; ask for the "
                "right, or name another namespace with --namespace."
            )
        if status in _GATEWAY:
            return Unreachable(f"{endpoint} has no Kubeflow Pipelines behind it just now ({status}): {said}.")
        if status == 404 and _said(body) is None:
            return self._stranger("404")
        if "empty namespace" in said or "Namespace is required" in said:
            return InputError(f"{endpoint} serves many users: name your namespace with --namespace.")
        return ServerRefused(f"{endpoint} refuses the request ({status}): {said.rstrip('.')}.", status)

    def _page(self, url: str | None) -> PipelineError:
        asks = any(word in (url or "").lower() for word in ("login", "signin", "sign_in", "auth", "dex"))
        if asks or not self._login.secret:
            return LoginRefused(f"{self._login.endpoint} shows a page to log in: {_HOW_TO_LOG_IN}.")
        return self._stranger("a web page")

    def _stranger(self, answer: str) -> PipelineError:
        return ServerRefused(
            f"{self._login.endpoint} is not Kubeflow Pipelines: it answers with {answer}; the endpoint is "
            "what comes before /apis/v2beta1, in a full Kubeflow https://HOST/pipeline.",
            404,
        )

    def _unreachable(self, error: BaseException) -> PipelineError:
        endpoint = self._login.endpoint
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, ssl.SSLError | urllib3.exceptions.SSLError):
            if "WRONG_VERSION_NUMBER" in str(reason) or "RECORD_LAYER" in str(reason):
                return InputError(f"{endpoint} does not speak TLS: begin the endpoint with http://.")
            return ServerRefused(
                f"{endpoint} cannot prove who it is ({_one_line(reason)}): give the certificate of the "
                "authority that signed its own with --ca-cert FILE.",
                495,
            )
        return Unreachable(
            f"Cannot reach {endpoint} ({_one_line(reason)}): is the address right, and a port-forward to it "
            "open?"
        )


_HOW_TO_LOG_IN = (
    "give --token or --token-file, or with --cookies the session of a browser that is logged in; "
    "docs/kubeflow.md says where to get them"
)


def _said(body: bytes | None) -> str | None:
    """Returns what the server says in its JSON; None where the answer is none of Kubeflow Pipelines'."""
    try:
        told = json.loads(body or b"")
    except ValueError:
        return None
    if not isinstance(told, dict):
        return None
    texts = (told.get(key) for key in ("message", "error_message", "error"))
    return next((_one_line(text) for text in texts if text), None)


def _one_line(error: object) -> str:
    text = str(error)
    if ": " in text and text.startswith(("<urllib3", "HTTPConnection", "HTTPSConnection")):
        text = text.partition(": ")[2]  # the address of an object in memory
    return " ".join(text.split()).rstrip(".")
