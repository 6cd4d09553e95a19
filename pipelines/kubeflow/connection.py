"""KFP's client with this project's login options, with time limits, and with errors in one sentence."""

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

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about KFP's own future
    import google.auth.exceptions
    import kfp.client
    import urllib3
    from kfp_server_api import exceptions, rest

ENDPOINT = "KF_PIPELINES_ENDPOINT"  # this name and that of the token's path are KFP's own
TOKEN_PATH = "KF_PIPELINES_SA_TOKEN_PATH"
TOKEN = "CATSDOGS_KUBEFLOW_TOKEN"
COOKIES = "CATSDOGS_KUBEFLOW_COOKIES"

_IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
_PROJECTED = Path("/var/run/secrets/kubeflow/pipelines/token")  # where KFP's manifests mount a pod's token
_LOGIN_PAGES = ("login", "signin", "sign_in", "auth", "dex")  # what is in their paths
_TIME_LIMITS = (10, 120)  # seconds to connect, and to wait for a response


class ServerError(PipelineError):
    """The server cannot be reached, or refuses a request.

    Attributes:
        status: The HTTP status, 401 for a login page; 0 where nothing came back.
    """

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

    @property
    def is_temporary(self) -> bool:
        """Whether the same request may succeed later."""
        return self.status == 0 or self.status >= 500


@dataclass(frozen=True)
class Login:
    """Where the server is and who the user is; what is None comes from the environment.

    Attributes:
        endpoint: URL; else KF_PIPELINES_ENDPOINT, else, in a pod, the cluster's own server.
        token: A bearer token; else CATSDOGS_KUBEFLOW_TOKEN.
        token_file: A file that holds one, read anew for every request, so that a token which its owner renews
            lasts as long as a run; else KF_PIPELINES_SA_TOKEN_PATH, else, in a pod, its projected token.
        cookies: A `Cookie` header, such as a browser's session; else CATSDOGS_KUBEFLOW_COOKIES, else KFP's
            context file.
        ca_cert: The certificates of who signed the server's.
    """

    endpoint: str | None = None
    token: str | None = None
    token_file: Path | None = None
    cookies: str | None = None
    ca_cert: Path | None = None


def connect(login: Login) -> Client:
    """Returns a client whose server has answered.

    Raises:
        InputError: The endpoint, a token, the cookies, the CA certificate or KFP's context file is unusable.
        ServerError: The server cannot be reached, is not Kubeflow Pipelines, or refuses.
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
        with quiet():
            client = Client(
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
            "The endpoint (not shown here) has an @, as in USER:PASSWORD@HOST, and Kubeflow Pipelines takes "
            "no passwords: leave that out, and give --token, --token-file or --cookies."
        )
    try:
        parts = urlsplit(endpoint)
        is_valid = (
            parts.scheme in {"http", "https"}
            and parts.hostname
            and parts.port != 0
            and not (parts.query or parts.fragment)  # an address copied from a browser
        )
    except ValueError:  # of a port, or of an IPv6 address
        is_valid = False
    if not is_valid or " " in endpoint:
        raise InputError(f"The endpoint {endpoint!r} must be http://HOST:PORT or https://HOST/PATH.")
    return endpoint.rstrip("/")


def _token(login: Login) -> tuple[str | None, Path | None]:
    """Returns the token or the file that holds it."""
    if login.token and login.token_file:
        raise InputError("Give --token or --token-file, not both.")
    file = login.token_file
    token = login.token or (None if file else os.environ.get(TOKEN))
    if token:
        return token.strip(), None
    if file is None and TOKEN_PATH in os.environ:
        file = Path(os.environ[TOKEN_PATH])
    if file is None and _PROJECTED.exists():
        file = _PROJECTED
    if file and not file.is_file():
        raise InputError(f"The token file {file} does not exist.")
    return None, file


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what KFP prints and warns of from the terminal."""
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
            raise ServerError(
                f"The token file {self._path} cannot be read: {_one_line(error)}.", 401
            ) from None
        if not token:
            raise ServerError(f"The token file {self._path} is empty: write a token into it.", 401)
        config.api_key["authorization"] = token


class Client(kfp.client.Client):
    """KFP's client whose requests have time limits and whose errors say what to do."""

    def get_kfp_healthz(self, sleep_duration: int = 0) -> Any:
        """Sends one request; KFP's own method, which its constructor calls, repeats it five times."""
        api_client = self._healthz_api.api_client  # the one of all its services
        if not isinstance(api_client.rest_client, _Requests):
            api_client.rest_client = _Requests(api_client.configuration)
        return self._healthz_api.healthz_service_get_healthz()

    def pod_log(self, run_id: str, pod: str) -> str:
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

    def __init__(self, configuration: Any) -> None:
        self._endpoint = configuration.host
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # else it logs each retry
        super().__init__(configuration)

    def request(self, method: str, url: str, **options: Any) -> Any:
        if not all(text.isascii() and text.isprintable() for text in options["headers"].values()):
            raise InputError(  # http.client would quote the header
                f"The token or the cookies for {self._endpoint} must be one line of ASCII characters: copy "
                "them again (they are not shown here)."
            )
        options["_request_timeout"] = options.get("_request_timeout") or _TIME_LIMITS
        try:
            response = super().request(method, url, **options)
        except exceptions.ApiException as error:
            raise self._refusal(error.status or 0, _message(error.body), error.reason) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            reason = getattr(error, "reason", None) or error
            hint = "is the address right, and a port-forward to it open?"
            if isinstance(reason, ssl.SSLError | urllib3.exceptions.SSLError):
                hint = "begin it with http:// if it has no TLS, or trust its certificate with --ca-cert FILE."
            raise ServerError(f"Cannot reach {self._endpoint} ({_one_line(reason)}): {hint}") from None
        if "text/html" in (response.urllib3_response.headers.get("content-type") or ""):
            raise self._refusal(200, None, response.urllib3_response.geturl())
        return response

    def _refusal(self, status: int, message: str | None, detail: str | None) -> ServerError:
        """Returns the error of a response; without a message, it is not one of Kubeflow Pipelines' own."""
        path = urlsplit(detail or "").path.lower() if status == 200 else ""
        is_login = any(word in path for word in _LOGIN_PAGES)
        if status == 401 or is_login or (status == 403 and message is None):
            return ServerError(
                f"{self._endpoint} needs a login, or a newer one ({'login page' if is_login else status}): "
                "give --token, --token-file, or with --cookies the session of a browser that is logged in; "
                "docs/kubeflow.md says where to get them.",
                401,
            )
        if message is None and status in {200, 404}:
            return ServerError(
                f"{self._endpoint} is not Kubeflow Pipelines ({'web page' if status == 200 else status}): "
                "the endpoint is what comes before /apis/v2beta1, in a full Kubeflow https://HOST/pipeline.",
                404,
            )
        said = (message or _one_line(detail)).rstrip(".")
        return ServerError(f"{self._endpoint} refuses the request ({status}): {said}.", status)


def _message(body: bytes | None) -> str | None:
    """Returns the server's message; None where the body is not Kubeflow Pipelines' JSON."""
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
        text = text.partition(": ")[2]  # the address of an object in memory
    return " ".join(text.split()).rstrip(".")
