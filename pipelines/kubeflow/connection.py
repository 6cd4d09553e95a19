"""KFP's client with login options, timeouts and one-sentence errors."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import ssl
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from components.errors import InputError, PipelineError
from pipelines.console import echo
from serving.client.protocol import is_local

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # KFP's deprecation warnings
    import google.auth.exceptions
    import kfp.client
    import urllib3
    from kfp_server_api import exceptions, rest

ENDPOINT = "KF_PIPELINES_ENDPOINT"  # KFP's own variable, as is TOKEN_PATH
TOKEN_PATH = "KF_PIPELINES_SA_TOKEN_PATH"
TOKEN = "CATSDOGS_KUBEFLOW_TOKEN"
COOKIES = "CATSDOGS_KUBEFLOW_COOKIES"

_IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
_PROJECTED_TOKEN = Path(
    "/var/run/secrets/kubeflow/pipelines/token"
)  # where KFP's manifests mount a pod's token
_LOGIN_PAGES = ("login", "signin", "sign_in", "auth", "dex")  # parts of their paths
_TIMEOUTS = (10, 120)  # seconds to connect, and to wait for a response


class ServerError(PipelineError):
    """The server cannot be reached or refuses a request.

    Attributes:
        status: The HTTP status, 401 for a login page; 0 without a response.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_temporary(self) -> bool:
        """True if the same request may succeed later."""
        return self.status == 0 or self.status >= 500


@dataclass(frozen=True)
class Login:
    """The server's address and the user's credentials; None values come from the environment.

    Attributes:
        endpoint: URL; else KF_PIPELINES_ENDPOINT, else, in a pod, the cluster's own server.
        token: A bearer token; else CATSDOGS_KUBEFLOW_TOKEN.
        token_file: A file with a token, read again for every request so that a renewed token is used;
            else KF_PIPELINES_SA_TOKEN_PATH, else, in a pod, its projected token.
        cookies: A `Cookie` header, such as a browser's session; else CATSDOGS_KUBEFLOW_COOKIES, else KFP's
            context file.
        ca_cert: The CA certificates that the server's certificate is verified with.
    """

    endpoint: str | None = None
    token: str | None = None
    token_file: Path | None = None
    cookies: str | None = None
    ca_cert: Path | None = None


def connect(login: Login) -> KfpClient:
    """Returns a client after a successful request to the server.

    Raises:
        InputError: The endpoint, a token, the cookies, the CA certificate or KFP's context file is unusable.
        ServerError: The server cannot be reached, is not Kubeflow Pipelines, or refuses the request.
    """
    endpoint = _endpoint(login.endpoint)
    token, token_file = _token(login)
    cookies = (login.cookies or os.environ.get(COOKIES) or "").strip() or None
    if login.ca_cert:
        try:
            ssl.create_default_context(cafile=login.ca_cert)
        except OSError as error:
            raise InputError(
                f"The CA certificate {login.ca_cert} cannot be used: {_one_line(error)}."
            ) from None
    try:
        with suppress_kfp_output():
            client = KfpClient(
                host=endpoint,
                existing_token=token,
                credentials=_TokenFile(token_file) if token_file else None,
                cookies=cookies,
                ssl_ca_cert=str(login.ca_cert) if login.ca_cert else None,
            )
        client.get_kfp_healthz()
    except json.JSONDecodeError as error:
        where = kfp.client.Client._LOCAL_KFP_CONTEXT
        raise InputError(f"KFP's context file {where} is not JSON ({error}): correct or remove it.") from None
    except google.auth.exceptions.GoogleAuthError as error:
        raise ServerError(f"Google gives no token for {endpoint}: {_one_line(error)}.", 401) from None
    return client


def _endpoint(given: str | None) -> str:
    endpoint = (given or os.environ.get(ENDPOINT) or "").strip()
    if not endpoint and "KUBERNETES_SERVICE_HOST" in os.environ:
        return _IN_CLUSTER
    if not endpoint:
        raise InputError(
            f"Give the address of Kubeflow Pipelines with --endpoint URL or {ENDPOINT}; after kubectl "
            "port-forward --namespace kubeflow service/ml-pipeline-ui 8080:80, it is http://localhost:8080."
        )
    if "@" in endpoint:
        raise InputError(
            "The endpoint (not shown here) contains an @, as in USER:PASSWORD@HOST, but Kubeflow Pipelines "
            "accepts no passwords: remove it and use --token, --token-file or --cookies."
        )
    try:
        parts = urlsplit(endpoint)
        is_valid = (
            parts.scheme in {"http", "https"}
            and parts.hostname
            and parts.port != 0
            and not (parts.query or parts.fragment)  # an address copied from a browser
        )
    except ValueError:  # an invalid port or IPv6 address
        is_valid = False
    if not is_valid or " " in endpoint:
        raise InputError(f"The endpoint {endpoint!r} must be http://HOST:PORT or https://HOST/PATH.")
    return endpoint.rstrip("/")


def _token(login: Login) -> tuple[str | None, Path | None]:
    """Returns the token or the file that holds it."""
    if login.token and login.token_file:
        raise InputError("--token and --token-file are both set: use one of them.")
    file = login.token_file
    token = login.token or (None if file else os.environ.get(TOKEN))
    if token:
        return token.strip(), None
    if file is None and TOKEN_PATH in os.environ:
        file = Path(os.environ[TOKEN_PATH])
    if file is None and _PROJECTED_TOKEN.exists():
        file = _PROJECTED_TOKEN
    if file and not file.is_file():
        raise InputError(f"The token file {file} does not exist.")
    return None, file


@contextlib.contextmanager
def suppress_kfp_output() -> Iterator[None]:
    """Suppresses KFP's output and warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


class _TokenFile(kfp.client.TokenCredentialsBase):
    """A token in a file that may be renewed; KFP's own class only logs a file that it cannot read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def refresh_api_key_hook(self, config: Any) -> None:
        """Reads the file before each request."""
        try:
            token = self._path.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise ServerError(
                f"The token file {self._path} cannot be read: {_one_line(error)}.", 401
            ) from None
        if not token:
            raise ServerError(f"The token file {self._path} is empty: it must contain a token.", 401)
        config.api_key["authorization"] = token


class KfpClient(kfp.client.Client):
    """KFP's client with request timeouts and errors that name a remedy."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Sends one health request; KFP's own method, called by its constructor, repeats it five times."""
        api_client = self._healthz_api.api_client  # shared by all its services
        if not isinstance(api_client.rest_client, _Requests):
            api_client.rest_client = _Requests(api_client.configuration)
        return self._healthz_api.healthz_service_get_healthz()

    def pod_log(self, run_id: str, pod: str) -> str:
        """Returns the log of a pod of a run; empty if the server does not have it."""
        log = self._run_api.api_client.call_api(
            "/apis/v1alpha1/runs/{run_id}/nodes/{pod}/log",  # v2 has no such path
            "GET",
            path_params={"run_id": run_id, "pod": pod},
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
        )
        return log if isinstance(log, str) else ""  # otherwise an error, which also has status 200

    def workflow_manifest(self, run_id: str) -> str:
        """Returns the Argo Workflow of a run as JSON; empty if it does not exist yet."""
        run = self._run_api.api_client.call_api(
            "/apis/v1beta1/runs/{run_id}",  # v2 has no such field
            "GET",
            path_params={"run_id": run_id},
            response_type="object",
            auth_settings=["Bearer"],
            _return_http_data_only=True,
        )
        return str(run["pipeline_runtime"].get("workflow_manifest", ""))

    def link(self, path: str) -> str:
        """Returns the URL of a page of the user interface."""
        return f"{self._get_url_prefix()}/#/{path}"


class _Requests(rest.RESTClientObject):
    """Sends requests and raises every error as a PipelineError."""

    def __init__(self, configuration: Any) -> None:
        self._endpoint = configuration.host
        self._warns = urlsplit(self._endpoint).scheme == "http" and not is_local(self._endpoint)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # otherwise it logs each retry
        super().__init__(configuration)

    def request(self, method: str, url: str, **options: Any) -> Any:
        if not all(text.isascii() and text.isprintable() for text in options["headers"].values()):
            raise InputError(  # http.client's error would print the header
                f"The token or the cookies for {self._endpoint} must be one line of ASCII characters: copy "
                "them again (they are not shown here)."
            )
        if self._warns and {"authorization", "cookie"} & set(map(str.lower, options["headers"])):
            echo(
                f"Warning: the token or the cookies for {self._endpoint} are sent unencrypted, so that "
                "others on the network can read and use them: use https://, or http://localhost with kubectl "
                "port-forward.",
                err=True,
            )
            self._warns = False
        options["_request_timeout"] = options.get("_request_timeout") or _TIMEOUTS
        try:
            response = super().request(method, url, **options)
        except exceptions.ApiException as error:
            raise self._refusal(error.status or 0, _message(error.body), error.reason) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            hint = "check the address, and that a port-forward to it is open."
            if isinstance(reason, ssl.SSLError | urllib3.exceptions.SSLError):
                hint = "use http:// if the server has no TLS, or trust its certificate with --ca-cert FILE."
            if isinstance(reason, urllib3.exceptions.ProtocolError):
                reason = "the connection was closed without an HTTP response"
                hint = (
                    "check that a port-forward to it is open, and that the port is the one for HTTP, 8888 of "
                    "service/ml-pipeline, not the one for gRPC, 8887."
                )
            raise ServerError(f"Cannot reach {self._endpoint} ({_one_line(reason)}): {hint}") from None
        if "text/html" in (response.urllib3_response.headers.get("content-type") or ""):
            raise self._refusal(200, None, response.urllib3_response.geturl())
        return response

    def _refusal(self, status: int, message: str | None, detail: str | None) -> ServerError:
        """Returns the error for a response; without a message, it does not come from Kubeflow Pipelines."""
        path = urlsplit(detail or "").path.lower() if status == 200 else ""
        is_login = any(word in path for word in _LOGIN_PAGES)
        if status == 401 or is_login or (status == 403 and message is None):
            return ServerError(
                f"{self._endpoint} requires a new login ({'login page' if is_login else status}): "
                "use --token, --token-file, or --cookies with the session of a logged-in browser; "
                'see "Logging in" in docs/kubeflow.md.',
                401,
            )
        if message is None and status in {200, 404}:
            return ServerError(
                f"{self._endpoint} is not Kubeflow Pipelines ({'web page' if status == 200 else status}): "
                "the endpoint is the URL before /apis/v2beta1; for a full Kubeflow, https://HOST/pipeline.",
                404,
            )
        reason = (message or _one_line(detail)).rstrip(".")
        return ServerError(f"{self._endpoint} refuses the request ({status}): {reason}.", status)


def _message(body: bytes | None) -> str | None:
    """Returns the server's message; None if the body is not JSON from Kubeflow Pipelines."""
    try:
        content = json.loads(body or b"")
    except ValueError:
        return None
    keys = ("message", "error_message", "error")
    texts = [content.get(key) for key in keys] if isinstance(content, dict) else []
    return next((_one_line(text) for text in texts if text), None)


def _one_line(error: object) -> str:
    text = str(error)
    if ": " in text and text.startswith(("<urllib3", "HTTPConnection", "HTTPSConnection")):
        text = text.partition(": ")[2]  # removes the memory address of an object
    return " ".join(text.split()).rstrip(".")
