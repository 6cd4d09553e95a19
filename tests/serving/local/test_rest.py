from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import saved_models
from tests.serving.local.rest_server import RestServer, rest_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    root = tmp_path_factory.mktemp("models")
    saved_models.half_plus_two(root / "half")
    saved_models.identity(root / "numbers", {"x": tf.TensorSpec([None, 1000], tf.float32)})
    names = ("half", "numbers")
    with rest_server({name: root / name for name in names}, config=root / "models.config") as running:
        yield running


def raw(server: RestServer, request: bytes) -> bytes:
    """Sends raw bytes, and returns all bytes until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/half/"),
        ("GET", "/v1/models/half?"),
        ("POST", "/v1/models/half:predict?"),
        ("GET", "/v1/models/half/versions/1/labels/a"),
        ("GET", "/v1/models/half/versions/-1"),
        ("GET", f"/v1/models/half/versions/{2**63}"),
        ("GET", "/v1/models/half/versions/" + "9" * 5000),
        ("GET", "/v1/models/half/nosuch"),
        ("GET", "/v1/models"),
        ("POST", "/v1/models/half"),
        ("POST", "/v1/models/half:predict?x=1"),
        ("POST", "/v1/models/half:nosuch"),
        ("POST", "/v1/models/:predict"),
        ("PATCH", "/v1/models/half"),
        ("OPTIONS", "/v1/models/half:predict"),
    ],
)
def test_malformed_paths_are_bad_requests(server: RestServer, method: str, path: str) -> None:
    response = server.request(method, path, "not even JSON")
    assert (response.status, response.headers["Content-Type"].partition(";")[0]) == (400, "application/json")
    assert json.loads(response.body)["error"]


@pytest.mark.parametrize(
    ("body", "status"), [("{", 400), ('{"signature_name": 1}', 400), ("{}", 404), ('{"instances": [1]}', 404)]
)
def test_a_bad_document_is_reported_before_an_unknown_model(
    server: RestServer, body: str, status: int
) -> None:
    assert server.request("POST", "/v1/models/unknown:predict", body).status == status


@pytest.mark.parametrize("path", ["/v1", "/v2/models/half", "/health", "//v1/models/half"])
def test_other_paths_are_not_found(server: RestServer, path: str) -> None:
    response = server.request("GET", path)
    assert response.status == 404
    assert json.loads(response.body)["error"]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/models/a%2Fb:predict", "Latest(a/b)"),
        ("/v1/models/a%3Ab/versions/7:predict", "Specific(a:b, 7)"),
        ("/V1/Models/NoSuch/Versions/007:predict", "Specific(NoSuch, 7)"),
        ("/v1/models/caf%C3%A9:predict", "Latest(café)"),
        ("/v1/models/half/versions/9:predict", "Specific(half, 9)"),
    ],
)
def test_names_are_decoded(server: RestServer, path: str, name: str) -> None:
    response = server.request("POST", path, '{"instances": [1]}')
    assert response.status == 404
    assert name in json.loads(response.body)["error"]


PREDICT = b"POST /v1/models/half:predict HTTP/1.1\r\nHost: localhost\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        PREDICT + b"Content-Length: -5\r\n\r\n",
        PREDICT + b"A: " + b"a" * 100_000 + b"\r\n\r\n",
        PREDICT + b"no header\r\n\r\n",
        PREDICT + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    ],
)
def test_malformed_http_is_a_bad_request(server: RestServer, request_bytes: bytes) -> None:
    assert b" 400 " in raw(server, request_bytes).splitlines()[0]


def test_accepts_a_chunked_body(server: RestServer) -> None:
    head = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    response = raw(server, PREDICT + head + b'a\r\n{"instance\r\nc\r\ns": [[1.0]]}\r\n0\r\n\r\n')
    assert response.startswith(b"HTTP/1.1 200 OK")
    assert b"[2.5]" in response


def test_one_connection_serves_many_requests(server: RestServer) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    bodies = ['{"instances": [[1.0]]}', "{", "", '{"instances": [[2.0]]}']
    statuses = []
    for body in bodies:
        connection.request("POST", "/v1/models/half:predict", body)
        response = connection.getresponse()
        response.read()
        statuses.append(response.status)
    connection.close()
    assert statuses == [200, 400, 400, 200]


def test_announces_that_it_closes_the_connection_after_a_damaged_body(server: RestServer) -> None:
    sent = {"Content-Encoding": "gzip"}
    response = server.request("POST", "/v1/models/half:predict", '{"instances": [[1.0]]}', sent)
    assert (response.status, response.headers["Connection"]) == (400, "close")
    assert "Connection" not in server.request("POST", "/v1/models/half:predict", "{").headers


def test_names_itself_in_the_server_header(server: RestServer) -> None:
    assert server.request("GET", "/v1/models/half").headers["Server"] == "catsdogs local server"


@pytest.mark.parametrize("headers", [{"Host": "evil.example"}, {"Origin": "http://evil.example"}])
@pytest.mark.parametrize("path", ["/", "/v1/models/half:predict", "/monitoring/prometheus/metrics", "/none"])
def test_rejects_other_hosts_and_origins(server: RestServer, path: str, headers: dict[str, str]) -> None:
    response = server.request("POST", path, '{"instances": [[1.0]]}', headers)
    assert (response.status, response.headers["Content-Type"].partition(";")[0]) == (403, "application/json")
    assert "evil.example" in json.loads(response.body)["error"]


def test_page_is_at_the_root(server: RestServer) -> None:
    response = server.request("GET", "/")
    assert (response.status, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"half" in response.body


def test_counts_requests(server: RestServer) -> None:
    server.request("POST", "/v1/models/half:predict", '{"instances": [[1.0]]}')
    server.request("POST", "/v1/models/half:predict", "{")
    server.request("GET", "/v1/models/made-up-by-the-caller")
    response = server.request("GET", "/monitoring/prometheus/metrics")
    assert response.headers["Content-Type"].startswith("text/plain")
    page = response.body.decode()
    assert ':tensorflow:serving:request_count{model_name="half",status="OK"}' in page
    assert ':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"}' in page
    assert "made-up-by-the-caller" not in page


def test_a_large_response_has_the_models_values(server: RestServer) -> None:
    """The response is large enough to be formatted off the event loop."""
    values = (np.arange(70_000, dtype=np.float32) / 7).reshape(-1, 1000)
    body = json.dumps({"instances": values.tolist()})
    response = server.request("POST", "/v1/models/numbers:predict", body)
    assert response.status == 200
    np.testing.assert_array_equal(np.array(json.loads(response.body)["predictions"], np.float32), values)
