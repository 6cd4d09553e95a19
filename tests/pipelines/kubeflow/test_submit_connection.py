from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from components.errors import InputError, PipelineError
from pipelines.kubeflow import connection
from pipelines.kubeflow.connection import COOKIES, ENDPOINT, TOKEN, TOKEN_PATH, Login, connect
from tests.pipelines.kubeflow.kfp_server import KfpServer, Response

Submit = Callable[..., tuple[int, str]]

SECRET = "s3cret-token"
HEALTHZ = "GET /apis/v2beta1/healthz"
PAGE = b"<html><title>Something</title></html>"


def _refusal(submit: Submit, **options: object) -> PipelineError:
    with pytest.raises(PipelineError) as refused:
        submit(**options)
    assert "\n" not in str(refused.value)
    assert SECRET not in str(refused.value)
    return refused.value


def _tokens(server: KfpServer) -> set[str]:
    return {request.headers["authorization"] for request in server.requests}


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """KFP's context file, which does not exist yet."""
    (tmp_path / "home").mkdir()
    return tmp_path / "home" / "context.json"


# Who asks


@pytest.mark.parametrize("by", ["option", "environment"])
def test_a_token_goes_with_every_request_and_is_never_printed(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    server.tokens = {SECRET}
    monkeypatch.setenv(TOKEN, SECRET if by == "environment" else "another")
    _, shown = submit(token=f" {SECRET}\r\n" if by == "option" else None)
    assert _tokens(server) == {f"Bearer {SECRET}"}
    assert len(server.runs) == 1
    assert SECRET not in shown


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


@pytest.mark.parametrize(
    ("host", "login", "warns"),
    [
        ("kfp.example", {"token": SECRET}, True),
        ("kfp.example", {"token_file": SECRET}, True),
        ("kfp.example", {"cookies": f"session={SECRET}"}, True),
        ("kfp.example", {}, False),
        ("localhost", {"token": SECRET}, False),
        ("127.0.0.1", {"cookies": f"session={SECRET}"}, False),
    ],
)
def test_credentials_without_encryption_are_warned_about_once(
    submit: Submit,
    server: KfpServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    host: str,
    login: dict[str, str | Path],
    warns: bool,
) -> None:
    if "token_file" in login:
        login = {"token_file": tmp_path / "token"}
        (tmp_path / "token").write_text(SECRET)
    resolve = socket.getaddrinfo
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda _, *others, **options: resolve("127.0.0.1", *others, **options)
    )
    endpoint = server.endpoint.replace("localhost", host).replace("127.0.0.1", host)
    submit(endpoint=endpoint, **login)
    assert len(server.requests) > 1
    warnings = capsys.readouterr().err.splitlines()
    assert len(warnings) == warns
    assert all(endpoint in warning and SECRET not in warning for warning in warnings)


def test_cookies_go_with_every_request(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch, context: Path
) -> None:
    server.cookies = {"oauth2_proxy_kubeflow=abc", "authservice_session=def", "from=context"}
    submit(cookies="oauth2_proxy_kubeflow=abc\n")
    monkeypatch.setenv(COOKIES, "authservice_session=def")
    submit()
    monkeypatch.delenv(COOKIES)
    context.write_text('{"namespace": "", "client_authentication_cookie": "from=context"}')
    submit()
    assert len(server.runs) == 3


def test_the_endpoint_of_the_environment_may_have_a_path(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = KfpServer()
    server.start(prefix="/pipeline")
    monkeypatch.setenv(ENDPOINT, f"{server.endpoint}/")
    try:
        _, shown = submit(endpoint=None)
    finally:
        server.stop()
    assert len(server.runs) == 1
    assert f"{server.endpoint}/#/runs/details/" in shown
    assert server.endpoint.endswith("/pipeline")


def test_in_a_pod_the_cluster_s_own_server_is_the_endpoint(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    monkeypatch.setattr(connection, "_IN_CLUSTER", "http://in-cluster.invalid:8888")
    assert "http://in-cluster.invalid:8888" in str(_refusal(submit, endpoint=None))


@pytest.mark.parametrize(
    ("login", "named"),
    [
        (Login(), ENDPOINT),
        (Login("localhost:8080"), "'localhost:8080'"),
        (Login("ftp://host"), "'ftp://host'"),
        (Login("http://"), "'http://'"),
        (Login("http://host:65536"), "65536"),
        (Login("http://[::1"), "[::1"),
        (Login("http://a host"), "a host"),
        (Login("http://x", token="a", token_file=Path("b")), "--token-file"),
        (Login("http://x", token_file=Path("/no/such")), "/no/such"),
        (Login("http://x/pipeline/?ns=a#/runs"), "#/runs"),
        (Login("http://x", ca_cert=Path("/no/such")), "/no/such"),
        (Login(f"http://user:{SECRET}@host"), "@"),
        (Login(f"user:{SECRET}@host"), "@"),
    ],
)
def test_a_wrong_login_is_refused_before_anything_is_sent(login: Login, named: str) -> None:
    with pytest.raises(InputError) as refused:
        connect(login)
    assert named in str(refused.value)
    assert SECRET not in str(refused.value)


UNSENDABLE = (f"{SECRET}\nX-Other: 1", f"{SECRET}…", f"{SECRET}é", f"{SECRET}\0", f"a\r{SECRET}")


@pytest.mark.parametrize("secret", UNSENDABLE)
def test_a_secret_that_no_request_can_hold_is_refused_and_not_shown(
    submit: Submit, server: KfpServer, tmp_path: Path, context: Path, secret: str
) -> None:
    file = tmp_path / "token"
    file.write_text(secret)
    for login in ({"token": secret}, {"cookies": secret}, {"token_file": file}):
        assert isinstance(_refusal(submit, **login), InputError)
    context.write_text(json.dumps({"namespace": "", "client_authentication_cookie": secret}))
    assert isinstance(_refusal(submit), InputError)
    assert server.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("by", ["option", "environment"])
def test_no_output_or_log_ever_holds_a_secret(
    server: KfpServer, package: Path, tmp_path: Path, by: str
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    secret = UNSENDABLE[0]
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.cli", "submit", package, "--endpoint", server.endpoint),
            *(("--token", secret) if by == "option" else ()),
        ],
        env={
            **os.environ,
            "HOME": str(tmp_path),
            "TMPDIR": str(logs),
            **({COOKIES: secret} if by == "environment" else {}),
        },
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.count("\n") == 1
    assert SECRET not in ended.stdout + ended.stderr
    assert not list(logs.iterdir())
    assert server.requests == []


# What goes wrong


def test_nobody_listens(submit: Submit, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
        error = _refusal(submit, endpoint=endpoint)
    assert endpoint in str(error)
    assert "0x" not in str(error)  # the address of an object in memory
    assert error.exit_status == 1
    assert caplog.records == []


def test_a_server_that_never_answers(submit: Submit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_TIMEOUTS", (0.5, 0.2))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        error = _refusal(submit, endpoint=f"http://127.0.0.1:{silent.getsockname()[1]}")
    assert "timed out" in str(error)


def test_a_connection_that_breaks_off(submit: Submit) -> None:
    with socket.create_server(("127.0.0.1", 0)) as rude:

        def hang_up() -> None:
            for _ in range(8):
                try:
                    rude.accept()[0].close()
                except OSError:
                    return

        threading.Thread(target=hang_up, daemon=True).start()
        endpoint = f"http://127.0.0.1:{rude.getsockname()[1]}"
        error = str(_refusal(submit, endpoint=endpoint))
    assert endpoint in error
    assert "port-forward" in error
    assert "RemoteDisconnected" not in error


def test_a_port_that_speaks_grpc(submit: Submit) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    error = _refusal(submit, endpoint=endpoint)
    server.stop(None)
    assert endpoint in str(error)
    assert "gRPC" in str(error)
    assert "8888" in str(error)
    assert str(error).isprintable()


LOGIN = "--token-file"  # what only the error that asks for a login names


@pytest.mark.parametrize(
    ("status", "body", "named"),
    [
        (401, {"code": 16, "message": "no"}, LOGIN),
        (401, b"Unauthorized", LOGIN),
        (403, b"RBAC: access denied", LOGIN),
        (403, {"code": 7, "message": "User 'a' is not authorized"}, "(403): User 'a' is not authorized"),
        (404, b"404 page not found", "/apis/v2beta1"),
        (404, PAGE, "/apis/v2beta1"),
        (200, PAGE, "/apis/v2beta1"),
        (404, {"code": 5, "message": "Not Found"}, "(404): Not Found"),
        (503, b"no healthy upstream", "(503)"),
        (500, {"error": "Internal", "code": 13, "message": "broken\nbadly."}, "(500): broken badly."),
        (500, b"", "(500)"),
    ],
)
def test_refusals(
    submit: Submit, server: KfpServer, status: int, body: bytes | dict[str, object], named: str
) -> None:
    kind = "text/html" if body == PAGE else "text/plain" if isinstance(body, bytes) else "application/json"
    server.faults = [(HEALTHZ, Response(status, body, kind), 9)]
    error = _refusal(submit, token=SECRET)
    assert server.endpoint in str(error)
    assert named in str(error)
    assert error.exit_status == 1
    assert len(server.requests) == 1  # not five, with pauses


def test_a_login_page_is_recognised(submit: Submit, server: KfpServer) -> None:
    server.cookies = {"session=valid"}
    for login in ({}, {"cookies": f"session={SECRET}"}):
        assert LOGIN in str(_refusal(submit, **login))
    assert server.runs == []


def test_a_broken_context_file_of_kfp(submit: Submit, context: Path) -> None:
    context.write_text("{")
    error = _refusal(submit)
    assert str(context) in str(error)
    assert error.exit_status == 2


@pytest.mark.parametrize("content", [b"\xff\xfe", b" \n"])
def test_a_token_file_without_a_readable_token(
    submit: Submit, server: KfpServer, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "token"
    file.write_bytes(content)
    assert str(file) in str(_refusal(submit, token_file=file))
    assert server.requests == []


def test_google_without_credentials(submit: Submit, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KF_PIPELINES_IAP_OAUTH2_CLIENT_ID", "client.apps.googleusercontent.com")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    monkeypatch.setattr("kfp.client.auth.LOCAL_KFP_CREDENTIAL", str(tmp_path / "none"))
    assert "Google" in str(_refusal(submit))


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory, require_tool: Callable[[str], str]) -> Path:
    """A certificate for 127.0.0.1 that signs itself, with its key, in one file."""
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    subprocess.run(
        [
            *(
                require_tool("openssl"),
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


def test_only_a_certificate_of_a_known_authority_is_trusted(
    submit: Submit, tls_server: KfpServer, certificate: Path
) -> None:
    error = _refusal(submit, endpoint=tls_server.endpoint, token=SECRET)
    assert "--ca-cert" in str(error)
    assert tls_server.requests == []
    submit(endpoint=tls_server.endpoint, ca_cert=certificate.with_suffix(".crt"))
    assert len(tls_server.runs) == 1


def test_a_ca_certificate_that_is_none(submit: Submit, tmp_path: Path) -> None:
    (tmp_path / "ca.crt").write_text("no certificate")
    assert "ca.crt" in str(_refusal(submit, ca_cert=tmp_path / "ca.crt"))


def test_https_where_http_is_spoken(submit: Submit, server: KfpServer) -> None:
    error = _refusal(submit, endpoint=server.endpoint.replace("http", "https"))
    assert "http://" in str(error)
