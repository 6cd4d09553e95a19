from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator

import numpy as np
import pytest
import tensorflow as tf

from tests.serving import models
from tests.serving.local.rest_server import RestServer, rest_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    root = tmp_path_factory.mktemp("models")
    models.half_plus_two(root / "half")
    models.identity(root / "numbers", {"x": tf.TensorSpec([None, 1000], tf.float32)})
    names = ("half", "numbers")
    with rest_server({name: root / name for name in names}, config=root / "models.config") as running:
        yield running


def raw(server: RestServer, request: bytes) -> bytes:
    """Sends bytes as they are, and returns all that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(request)
        return b"".join(iter(lambda: connection.recv(65536), b""))


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/models/half/"),
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
def test_what_is_no_call_is_a_bad_request(server: RestServer, method: str, path: str) -> None:
    answer = server.ask(method, path, "not even JSON")
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (400, "application/json")
    assert json.loads(answer.body)["error"]


@pytest.mark.parametrize("path", ["/v1", "/v2/models/half", "/health", "//v1/models/half"])
def test_other_paths_are_not_found(server: RestServer, path: str) -> None:
    answer = server.ask("GET", path)
    assert answer.status == 404
    assert json.loads(answer.body)["error"]


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
    answer = server.ask("POST", path, '{"instances": [1]}')
    assert answer.status == 404
    assert name in json.loads(answer.body)["error"]


PREDICT = b"POST /v1/models/half:predict HTTP/1.1\r\nHost: x\r\n"


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
def test_what_is_no_http_is_a_bad_request(server: RestServer, request_bytes: bytes) -> None:
    assert b" 400 " in raw(server, request_bytes).splitlines()[0]


def test_body_may_come_in_chunks(server: RestServer) -> None:
    head = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(server, PREDICT + head + b'a\r\n{"instance\r\nc\r\ns": [[1.0]]}\r\n0\r\n\r\n')
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"[2.5]" in answer


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


def test_server_says_that_it_is_not_tensorflow_serving(server: RestServer) -> None:
    assert server.ask("GET", "/v1/models/half").headers["Server"] == "catsdogs local server"


def test_page_is_at_the_root(server: RestServer) -> None:
    answer = server.ask("GET", "/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"half" in answer.body


def test_requests_are_counted(server: RestServer) -> None:
    server.ask("POST", "/v1/models/half:predict", '{"instances": [[1.0]]}')
    server.ask("POST", "/v1/models/half:predict", "{")
    server.ask("GET", "/v1/models/made-up-by-the-caller")
    answer = server.ask("GET", "/monitoring/prometheus/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    page = answer.body.decode()
    assert ':tensorflow:serving:request_count{model_name="half",status="OK"}' in page
    assert ':tensorflow:serving:request_count{model_name="half",status="INVALID_ARGUMENT"}' in page
    assert "made-up-by-the-caller" not in page


def test_numbers_of_a_large_answer_are_those_of_the_model(server: RestServer) -> None:
    """More numbers than are written on the event loop itself."""
    values = (np.arange(70_000, dtype=np.float32) / 7).reshape(-1, 1000)
    body = json.dumps({"instances": values.tolist()})
    answer = server.ask("POST", "/v1/models/numbers:predict", body)
    assert answer.status == 200
    np.testing.assert_array_equal(np.array(json.loads(answer.body)["predictions"], np.float32), values)
