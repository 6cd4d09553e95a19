from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from components.errors import InputError, PipelineError
from pipelines.kubeflow import connection
from pipelines.kubeflow.login import COOKIES, ENDPOINT, TOKEN, TOKEN_PATH, Login
from tests.pipelines.kubeflow.kfp_server import Answer, KfpServer

Submit = Callable[..., tuple[int, str]]

SECRET = "s3cret-token"
HEALTHZ = "GET /apis/v2beta1/healthz"
PAGE = b"<html><title>Something</title></html>"


def _tokens(server: KfpServer) -> set[str]:
    return {request.headers["authorization"] for request in server.requests}


# Who asks


def test_a_token_goes_with_every_request_and_is_never_printed(submit: Submit, server: KfpServer) -> None:
    server.tokens = {SECRET}
    _, shown = submit(token=SECRET)
    assert _tokens(server) == {f"Bearer {SECRET}"}
    assert len(server.runs) == 1
    assert SECRET not in shown


def test_a_token_of_the_environment(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.tokens = {SECRET}
    monkeypatch.setenv(TOKEN, SECRET)
    submit()
    assert len(server.runs) == 1


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_token_file_is_read_anew_for_every_request(
    submit: Submit, server: KfpServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    file = tmp_path / "token"
    file.write_text("first")
    server.tokens = {"first", "second"}
    route = server._route

    def renew(request: object) -> dict[str, object]:
        file.write_text("second")
        return route(request)  # type: ignore[arg-type]

    monkeypatch.setattr(server, "_route", renew)
    if by == "environment":
        monkeypatch.setenv(TOKEN_PATH, str(file))
        monkeypatch.setenv(TOKEN, "")
        submit()
    else:
        monkeypatch.setenv(TOKEN, "not this one")
        submit(token_file=file)
    assert _tokens(server) == {"Bearer first", "Bearer second"}
    assert len(server.runs) == 1


def test_cookies_go_with_every_request(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    server.cookies = {"oauth2_proxy_kubeflow=abc", "authservice_session=def", "from=context"}
    submit(cookies="oauth2_proxy_kubeflow=abc")
    monkeypatch.setenv(COOKIES, "authservice_session=def")
    submit()
    monkeypatch.delenv(COOKIES)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_text(
        '{"namespace": "", "client_authentication_cookie": "from=context"}'
    )
    submit()
    assert len(server.runs) == 3


def test_the_endpoint_of_the_environment(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENDPOINT, f"{server.endpoint}/")
    _, shown = submit(endpoint=None)
    assert len(server.runs) == 1
    assert f"{server.endpoint}/#/runs" in shown


def test_an_endpoint_with_a_path(package: Path, submit: Submit) -> None:
    server = KfpServer()
    server.start(prefix="/pipeline")
    try:
        _, shown = submit(endpoint=server.endpoint)
    finally:
        server.stop()
    assert len(server.runs) == 1
    assert f"{server.endpoint}/#/runs/details/" in shown
    assert server.endpoint.endswith("/pipeline")


def test_in_a_pod_the_cluster_s_own_server_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    assert Login().resolved().endpoint == "http://ml-pipeline.kubeflow.svc.cluster.local:8888"
    assert Login("https://other/pipeline/").resolved().endpoint == "https://other/pipeline"


@pytest.mark.parametrize(
    ("login", "sentence"),
    [
        (Login(), "Which Kubeflow Pipelines? Give --endpoint URL or set KF_PIPELINES_ENDPOINT"),
        (Login("localhost:8080"), "The endpoint 'localhost:8080' must be http://HOST:PORT or https://"),
        (Login("http://"), "The endpoint 'http://' must be http://HOST:PORT or https://HOST/PATH"),
        (Login("ftp://host"), "The endpoint 'ftp://host' must be"),
        (Login("http://host:65536"), "with a port from 1 to 65535 if any"),
        (Login("http://host:0"), "with a port from 1 to 65535 if any"),
        (Login("http://host:http"), "with a port from 1 to 65535 if any"),
        (Login("http://[::1"), "The endpoint 'http://[::1' must be"),
        (Login("http://a host"), "The endpoint 'http://a host' must be"),
        (Login("http://ho\nst"), r"The endpoint 'http://ho\nst' must be"),
        (Login("http://host/#/runs"), "nothing behind a ? or #"),
        (Login("http://host/?a=b"), "nothing behind a ? or #"),
        (Login("http://x", token="a", token_file=Path("b")), "--token and --token-file are two answers"),
        (Login("http://x", token_file=Path("/no/such")), "The token file /no/such does not exist"),
        (Login("http://x", ca_cert=Path("/no/such")), "The CA certificate /no/such does not exist"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_sent(login: Login, sentence: str) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        login.resolved()


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("https://host/pipeline/", "https://host/pipeline"),
        ("http://[::1]:65535", "http://[::1]:65535"),
        ("http://10.0.0.1:8080\n", "http://10.0.0.1:8080"),
    ],
)
def test_endpoints_that_are_good(given: str, used: str) -> None:
    assert Login(given).resolved().endpoint == used


@pytest.mark.parametrize(
    "endpoint",
    [f"http://user:{SECRET}@host", f"user:{SECRET}@host", f"http://u:{SECRET}/@h", f"http://u:{SECRET}@[::1"],
)
def test_a_password_in_the_endpoint_is_refused_and_not_shown(endpoint: str) -> None:
    with pytest.raises(InputError, match="Kubeflow Pipelines takes no passwords") as refused:
        Login(endpoint).resolved()
    assert SECRET not in str(refused.value)


UNSENDABLE = (f"{SECRET}\nX-Other: 1", f"{SECRET}…", f"{SECRET}é", f"{SECRET}\0", f"a\r{SECRET}")


@pytest.mark.parametrize("secret", UNSENDABLE)
@pytest.mark.parametrize("name", ["token", "cookies"])
def test_a_secret_that_no_request_can_hold_is_refused_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, name: str, secret: str
) -> None:
    for login in (Login("http://x", **{name: secret}), Login("http://x")):  # type: ignore[arg-type]
        with pytest.raises(InputError, match=f"The {name} must be one line of ASCII characters") as refused:
            login.resolved()
        assert SECRET not in str(refused.value) + repr(login)
        if "\0" in secret:  # which no environment can hold
            return
        monkeypatch.setenv({"token": TOKEN, "cookies": COOKIES}[name], secret)


def test_a_secret_with_the_end_of_its_line_is_taken(submit: Submit, server: KfpServer) -> None:
    server.tokens, server.cookies = {SECRET}, {"a=1; b=2"}
    submit(token=f" {SECRET}\r\n", cookies="a=1; b=2\n")
    assert len(server.runs) == 1


@pytest.mark.slow
def test_no_output_or_log_ever_holds_a_secret(server: KfpServer, package: Path, tmp_path: Path) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    context, file = tmp_path / ".config/kfp/context.json", tmp_path / "token"
    context.parent.mkdir(parents=True)

    def run(*options: str, **environment: str) -> str:
        ended = subprocess.run(
            [
                sys.executable,
                "-m",
                "pipelines.cli",
                "submit",
                package,
                "--endpoint",
                server.endpoint,
                *options,
            ],
            env={**os.environ, "HOME": str(tmp_path), "TMPDIR": str(logs), **environment},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 2, ended.stderr
        assert ended.stderr.count("\n") == 1
        assert SECRET not in ended.stdout + ended.stderr
        assert not [log for log in logs.rglob("*") if log.is_file() and SECRET in log.read_text()]
        assert not list(logs.glob("catsdogs-*"))
        return ended.stderr

    assert "The token must be" in run("--token", UNSENDABLE[0])
    assert "The token must be" in run(**{TOKEN: UNSENDABLE[1]})
    assert "The cookies must be" in run("--cookies", UNSENDABLE[2])
    assert "The cookies must be" in run(**{COOKIES: UNSENDABLE[0]})
    file.write_text(UNSENDABLE[0])
    assert f"The token in {file} must be" in run("--token-file", str(file))
    for secret in (UNSENDABLE[0], UNSENDABLE[1], UNSENDABLE[4]):
        context.write_text(json.dumps({"namespace": "", "client_authentication_cookie": secret}))
        assert "the cookie in KFP's context file" in run()
    assert server.runs == server.requests == []


def test_a_token_file_that_the_environment_names_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TOKEN_PATH, "/no/such/token")
    with pytest.raises(InputError, match="The token file /no/such/token does not exist"):
        Login("http://x").resolved()


# What goes wrong


def _refusal(submit: Submit, **asked: object) -> PipelineError:
    with pytest.raises(PipelineError) as refused:
        submit(**asked)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)
    return refused.value


def test_nobody_listens(submit: Submit, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        error = _refusal(submit, endpoint=endpoint)
    assert str(error).startswith(f"Cannot reach {endpoint} (")
    assert "Connection refused" in str(error)
    assert "0x" not in str(error)
    assert error.exit_status == 1
    assert caplog.records == []


def test_no_such_host(submit: Submit) -> None:
    error = _refusal(submit, endpoint="http://no-such-host.invalid")
    assert "Cannot reach http://no-such-host.invalid (" in str(error)


def test_a_server_that_never_answers(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_TIME_LIMITS", (0.5, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = _refusal(submit, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "Cannot reach" in str(error)
    assert "timed out" in str(error)


@pytest.mark.parametrize(
    ("status", "body", "asked", "sentence"),
    [
        (401, {"code": 16, "message": "no"}, {}, "asks for a login (401): give --token or --token-file"),
        (
            401,
            {"code": 16, "message": "no"},
            {"token": SECRET},
            "refuses the token (401): it may have expired",
        ),
        (401, b"Unauthorized", {"cookies": SECRET}, "refuses the cookies (401): it may have expired"),
        (403, b"RBAC: access denied", {}, "asks for a login (403)"),
        (
            403,
            {"code": 7, "message": "User 'a' is not authorized"},
            {"token": SECRET},
            "does not let the owner of the token do this (403): User 'a' is not authorized; ask for",
        ),
        (404, b"404 page not found", {}, "is not Kubeflow Pipelines: it answers with 404"),
        (404, {"code": 5, "message": "Not Found"}, {}, "refuses the request (404): Not Found."),
        (503, b"no healthy upstream", {}, "has no Kubeflow Pipelines behind it just now (503)"),
        (
            500,
            {"error": "Internal", "code": 13, "message": "broken\nbadly."},
            {},
            "refuses the request (500): broken badly.",
        ),
        (500, b"", {}, "refuses the request (500): Internal Server Error."),
    ],
)
def test_refusals(
    submit: Submit,
    server: KfpServer,
    status: int,
    body: bytes | dict[str, object],
    asked: dict[str, object],
    sentence: str,
) -> None:
    server.faults = [
        (HEALTHZ, Answer(status, body, "text/plain" if isinstance(body, bytes) else "application/json"), 9)
    ]
    error = _refusal(submit, **asked)
    assert str(error).startswith(server.endpoint)
    assert sentence in str(error)
    assert len(server.requests) == 1  # asked once, not five times with pauses


def test_a_refusal_in_a_namespace(submit: Submit, server: KfpServer) -> None:
    message = "User 'a@example.com' is not authorized with reason: (request: …)"
    server.faults = [("GET /apis/v2beta1/experiments", Answer(403, {"code": 7, "message": message}), 1)]
    error = _refusal(submit, token=SECRET, namespace="theirs")
    assert "do this (403): User 'a@example.com'" in str(error)
    assert "name another namespace with --namespace" in str(error)


def test_a_page_to_log_in_instead_of_an_answer(submit: Submit, server: KfpServer) -> None:
    server.cookies = {"session=valid"}
    assert "shows a page to log in: give --token" in str(_refusal(submit))
    assert "shows a page to log in" in str(_refusal(submit, cookies="session=old"))
    assert server.runs == []


def test_a_web_page_that_is_no_kubeflow(submit: Submit, server: KfpServer) -> None:
    server.faults = [(HEALTHZ, Answer(200, PAGE, "text/html; charset=utf-8"), 9)]
    error = _refusal(submit, token=SECRET)
    assert "is not Kubeflow Pipelines: it answers with a web page" in str(error)
    server.faults = [(HEALTHZ, Answer(404, PAGE, "text/html"), 9)]
    assert "is not Kubeflow Pipelines: it answers with 404" in str(_refusal(submit, token=SECRET))


def test_a_broken_context_file_of_kfp(submit: Submit, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_text("{")
    error = _refusal(submit)
    assert "KFP's context file" in str(error)
    assert error.exit_status == 2


def test_a_token_file_that_cannot_be_read(submit: Submit, server: KfpServer, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("\n")
    error = _refusal(submit, token_file=file)
    assert str(error) == f"The token file {file} is empty."
    for secret in UNSENDABLE:
        file.write_text(secret)
        assert f"The token in {file} must be one line" in str(_refusal(submit, token_file=file))
    file.write_bytes(b"\xff\xfe")
    assert f"The token file {file} cannot be read: " in str(_refusal(submit, token_file=file))
    assert server.requests == []


def test_google_without_credentials(submit: Submit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "client.apps.googleusercontent.com")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    monkeypatch.setattr("kfp.client.auth.LOCAL_KFP_CREDENTIAL", str(tmp_path / "none"))
    assert "Google gives no token for http://127.0.0.1" in str(_refusal(submit))


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, in one file."""
    if not shutil.which("openssl"):
        pytest.skip("needs openssl")
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        [
            *(
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=127.0.0.1",
            ),
            *("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", file, "-out", file.with_suffix(".crt")),
        ],
        check=True,
        capture_output=True,
    )
    file.write_text(file.read_text() + file.with_suffix(".crt").read_text())
    return file


@pytest.fixture
def tls_server(certificate: Path) -> Iterator[KfpServer]:
    server = KfpServer()
    server.start(certificate)
    yield server
    server.stop()


def test_a_certificate_of_one_s_own_authority(
    submit: Submit, tls_server: KfpServer, certificate: Path
) -> None:
    submit(endpoint=tls_server.endpoint, ca_cert=certificate.with_suffix(".crt"))
    assert len(tls_server.runs) == 1


def test_an_unknown_authority_is_not_trusted(submit: Submit, tls_server: KfpServer) -> None:
    error = _refusal(submit, endpoint=tls_server.endpoint, token=SECRET)
    assert "cannot prove who it is (" in str(error)
    assert "--ca-cert FILE" in str(error)
    assert tls_server.requests == []


def test_a_ca_certificate_that_is_none(submit: Submit, tls_server: KfpServer, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    error = _refusal(submit, endpoint=tls_server.endpoint, ca_cert=tmp_path / "ca.crt")
    assert "ca.crt cannot be used" in str(error)


def test_https_where_http_is_spoken(submit: Submit, server: KfpServer) -> None:
    error = _refusal(submit, endpoint=server.endpoint.replace("http", "https"))
    assert "does not speak TLS: begin the endpoint with http://" in str(error)


def test_a_connection_that_breaks_off(submit: Submit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def hang_up() -> None:
            for _ in range(8):
                try:
                    rude.accept()[0].close()
                except OSError:
                    return

        thread = threading.Thread(target=hang_up, daemon=True)
        thread.start()
        assert "Cannot reach" in str(_refusal(submit, endpoint=f"http://127.0.0.1:{rude.getsockname()[1]}"))
