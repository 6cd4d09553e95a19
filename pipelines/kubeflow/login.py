"""Where Kubeflow Pipelines is, and what it is shown to let one in."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from components.errors import InputError

ENDPOINT = "KF_PIPELINES_ENDPOINT"  # this name and that of the token's path are KFP's own
TOKEN_PATH = "KF_PIPELINES_SA_TOKEN_PATH"
TOKEN = "CATSDOGS_KUBEFLOW_TOKEN"
COOKIES = "CATSDOGS_KUBEFLOW_COOKIES"

_IN_CLUSTER = "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
_PROJECTED = Path("/var/run/secrets/kubeflow/pipelines/token")  # where KFP's manifests mount a pod's token


@dataclass(frozen=True)
class Login:
    """Where the server is and what it is shown; what is None comes from the environment.

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
    token: str | None = field(default=None, repr=False)
    token_file: Path | None = None
    cookies: str | None = field(default=None, repr=False)
    ca_cert: Path | None = None

    def resolved(self) -> Login:
        """Returns what is really used.

        Raises:
            InputError: There is no endpoint, something cannot be sent, or a file is missing.
        """
        if self.token is not None and self.token_file:
            raise InputError("--token and --token-file are two answers to one question: give one of them.")
        endpoint = self.endpoint or os.environ.get(ENDPOINT)
        if not endpoint:
            if "KUBERNETES_SERVICE_HOST" not in os.environ:
                raise InputError(
                    f"Which Kubeflow Pipelines? Give --endpoint URL or set {ENDPOINT}; after kubectl "
                    "port-forward --namespace kubeflow service/ml-pipeline-ui 8080:80, it is "
                    "http://localhost:8080."
                )
            endpoint = _IN_CLUSTER
        token_file = self.token_file
        token = self.token if self.token is not None or token_file else os.environ.get(TOKEN)
        if not token and not token_file:
            projected = Path(os.environ.get(TOKEN_PATH) or _PROJECTED)
            token_file = projected if projected.exists() or TOKEN_PATH in os.environ else None
        for option, path in (("token file", token_file), ("CA certificate", self.ca_cert)):
            if path and not path.is_file():
                raise InputError(f"The {option} {path} does not exist.")
        cookies = self.cookies if self.cookies is not None else os.environ.get(COOKIES)
        return Login(
            _checked_endpoint(endpoint),
            in_a_header("token", token) if token else None,
            token_file,
            in_a_header("cookies", cookies) if cookies else None,
            self.ca_cert,
        )

    @property
    def secret(self) -> str:
        """What is shown to the server, in a word, for errors: never the secret itself."""
        return "token" if self.token or self.token_file else "cookies" if self.cookies else ""


def in_a_header(what: str, secret: str) -> str:
    """Returns a secret as it can be sent, without the line's end that it often comes with.

    Args:
        what: `token` or `cookies`, for the error, which never holds the secret itself.
        secret: What was given.

    Raises:
        InputError: It has characters that a request cannot have in a header.
    """
    secret = secret.strip()
    if not (secret.isascii() and secret.isprintable()):
        raise InputError(
            f"The {what} must be one line of ASCII characters, and what was given has others, or several "
            "lines: copy it again (it is not shown here)."
        )
    return secret


def _checked_endpoint(text: str) -> str:
    text = text.strip()
    if "@" in text:
        raise InputError(
            "The endpoint has an @, as in USER:PASSWORD@HOST (it is not shown here): Kubeflow Pipelines "
            "takes no passwords; leave that out, and give --token, --token-file or --cookies."
        )
    try:
        parts = urlsplit(text)
        good = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:  # of a port, or of an IPv6 address
        good = False
    if not good or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise InputError(
            f"The endpoint {text!r} must be http://HOST:PORT or https://HOST/PATH, with a port from 1 to "
            "65535 if any, and nothing behind a ? or #."
        )
    return text.rstrip("/")
