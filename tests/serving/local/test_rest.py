from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from serving.local.json_outputs import error_body
from tests.serving import models
from tests.serving.local.rest_server import RestServer, rest_server

BAD_REQUEST = (
    b"<HTML><HEAD>\n<TITLE>400 Bad Request</TITLE>\n</HEAD><BODY>\n<H1>Bad Request</H1>\n</BODY></HTML>\n"
)


def judge(folder: Path) -> None:
    """Exports signatures for classify and regress over tf.Examples with a float feature `x` of size 2."""
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        examples = tf.compat.v1.placeholder(tf.string, [None], name="examples")
        features = tf.io.parse_example(examples, {"x": tf.io.FixedLenFeature([2], tf.float32)})
        scores = features["x"]
        labels = tf.tile(tf.constant([["cat", "dog"]]), [tf.shape(scores)[0], 1])
        total = tf.reduce_sum(scores, axis=1, keepdims=True)
        saved = tf.compat.v1.saved_model
        signatures = {
            "serving_default": saved.classification_signature_def(examples, labels, scores),
            "scores_only": saved.classification_signature_def(examples, None, scores),
            "sum": saved.regression_signature_def(examples, total),
        }
        builder = saved.Builder(str(folder / "1"))
        builder.add_meta_graph_and_variables(session, ["serve"], signature_def_map=signatures)
        builder.save()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RestServer]:
    root = tmp_path_factory.mktemp("models")
    models.half_plus_two(root / "half")
    models.identity(root / "text", {"x": tf.TensorSpec([None], tf.string)})
    judge(root / "judge")
    models.identity(root / "numbers", {"x": tf.TensorSpec([None, 1000], tf.float32)})
    names = ("half", "text", "judge", "numbers")
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
        ("GET", "/v1/models/half/versions/"),
        ("GET", "/v1/models/half/versions/1/labels/a"),
        ("GET", "/v1/models/half/versions/-1"),
        ("GET", "/v1/models/half/nosuch"),
        ("GET", "/v1/../v1/models/half"),
        ("GET", "/v1//models/half"),
        ("GET", "/v1/"),
        ("POST", "/v1/models/half"),
        ("POST", "/v1/models/half:predict?x=1"),
        ("POST", "/v1/models/half:predict/"),
        ("POST", "/v1/models/half:predict#x"),
        ("POST", "/v1/models/half:PREDICT"),
        ("POST", "/v1/models/half:nosuch"),
        ("POST", "/v1/models/:predict"),
        ("PATCH", "/v1/models/half"),
    ],
)
def test_what_is_no_call_is_told_as_it_came(server: RestServer, method: str, path: str) -> None:
    answer = server.ask(method, path, "not even JSON")
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/json")
    assert answer.body == error_body(f"Malformed request: {method} {path}")


def test_query_belongs_to_the_name_as_in_tensorflow_serving(server: RestServer) -> None:
    answer = server.ask("GET", "/v1/models/half?x=1")
    assert answer.status == 404
    assert answer.body == error_body("Could not find any versions of model half?x=1")


@pytest.mark.parametrize("path", ["/v1", "/v2/models/half", "/health", "//v1/models/half", "/V2/"])
def test_other_paths_are_not_found(server: RestServer, path: str) -> None:
    answer = server.ask("GET", path)
    assert (answer.status, answer.headers["Content-Type"]) == (404, "text/html")
    assert b"<TITLE>404 Not Found</TITLE>" in answer.body


@pytest.mark.parametrize("path", ["/v1/models/%zz", "/v1/models/%4", "/v1/models/a{b", '/v1/models/a"b'])
def test_what_is_no_uri_is_a_bad_request(server: RestServer, path: str) -> None:
    answer = server.ask("GET", path)
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (400, "text/html", BAD_REQUEST)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v1/models/a%2Fb:predict", "Latest(a/b)"),
        ("/v1/models/a%3Ab/versions/7:predict", "Specific(a:b, 7)"),
        ("/V1/Models/NoSuch/Versions/007:predict", "Specific(NoSuch, 7)"),
        ("/v1/models/caf%C3%A9:predict", "Latest(café)"),
    ],
)
def test_names_are_decoded(server: RestServer, path: str, name: str) -> None:
    answer = server.ask("POST", path, '{"instances": [1]}')
    assert (answer.status, answer.body) == (404, error_body(f"Servable not found for request: {name}"))


def test_malformed_json_is_told_before_an_unknown_model(server: RestServer) -> None:
    answer = server.ask("POST", "/v1/models/nosuch:predict", "{")
    assert answer.status == 400
    assert answer.body == error_body("JSON Parse error: Missing a name for object member. at offset: 1")


@pytest.mark.parametrize("path", ["/v1/models/half/versions/{}", "/v1/models/half/versions/{}:predict"])
def test_version_that_is_no_int64_has_an_empty_answer(server: RestServer, path: str) -> None:
    """TensorFlow Serving returns from ProcessRequest before it has written the error into the body."""
    method = "POST" if path.endswith("predict") else "GET"
    answer = server.ask(method, path.format(2**63), "{}")
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (400, "application/json", b"")
    assert server.ask(method, path.format(2**63 - 1), '{"instances": [[1]]}').status == 404


def test_metadata_in_other_case_is_the_status(server: RestServer) -> None:
    status = server.ask("GET", "/v1/models/half").body
    assert server.ask("GET", "/v1/models/half/METADATA").body == status
    assert server.ask("GET", "/v1/models/half/versions/123").body == status
    assert "version" in json.loads(status)["model_version_status"][0]


def test_missing_version(server: RestServer) -> None:
    answer = server.ask("GET", "/v1/models/half/versions/9")
    assert (answer.status, answer.body) == (404, error_body("Could not find version 9 of model half"))


def test_bytes_that_are_no_text_come_back_as_they_went(server: RestServer) -> None:
    answer = server.ask(
        "POST", "/v1/models/text:predict", b'{"instances": ["\xff\xd8\xe2\x98\x83", "\\u00e9"]}'
    )
    assert answer.status == 200
    assert answer.body == b'{\n    "predictions": ["\xff\xd8\xe2\x98\x83", "\xc3\xa9"\n    ]\n}'


def test_absolute_target(server: RestServer) -> None:
    answer = raw(
        server, b"GET http://elsewhere/v1/models/half HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b'"AVAILABLE"' in answer


PREDICT = b"POST /v1/models/half:predict HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"GET /v1/models/\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/models/é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
        PREDICT + b"Content-Length: -5\r\n\r\n",
        PREDICT + b"Content-Length: 99999999999999999999999\r\n\r\n",
        PREDICT + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        PREDICT + b"A: " + b"a" * 100_000 + b"\r\n\r\n",
        PREDICT + b"A: b\r\n" * 5000 + b"\r\n",
        PREDICT + b"no header\r\n\r\n",
        PREDICT + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nhello\r\n",
    ],
)
def test_what_is_no_http_is_a_bad_request(server: RestServer, request_bytes: bytes) -> None:
    answer = raw(server, request_bytes)
    assert answer.splitlines()[0].endswith(b" 400 Bad Request")
    assert answer.endswith(b"\r\n\r\n" + BAD_REQUEST)
    assert b"aiohttp" not in answer


def test_body_may_come_in_chunks(server: RestServer) -> None:
    head = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    answer = raw(server, PREDICT + head + b'a\r\n{"instance\r\nc\r\ns": [[1.0]]}\r\n0\r\n\r\n')
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"[2.5]" in answer


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
def test_methods_that_libevent_does_not_know(server: RestServer, method: str) -> None:
    answer = raw(server, f"{method} /v1/models/half HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 501 Not Implemented\r\n")


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


def test_body_is_asked_for_when_the_client_waits(server: RestServer) -> None:
    body = b'{"instances": [[1.0]]}'
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(PREDICT + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body))
        assert connection.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK")


def test_server_says_that_it_is_not_tensorflow_serving(server: RestServer) -> None:
    assert server.ask("GET", "/v1/models/half").headers["Server"] == "catsdogs local server"
    assert server.ask("GET", "/health").headers["Server"] == "catsdogs local server"


def test_page_is_at_the_root(server: RestServer) -> None:
    answer = server.ask("GET", "/")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert b"half" in answer.body
    assert server.ask("POST", "/", "x").status == 404


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


def test_classify(server: RestServer) -> None:
    body = '{"examples": [{"x": [0.25, 0.75]}, {"x": [1e-7, 3.0]}]}'
    answer = server.ask("POST", "/v1/models/judge:classify", body)
    assert answer.status == 200
    assert answer.body == (
        b'{\n    "results": [[["cat", 0.25], ["dog", 0.75]], [["cat", 1e-07], ["dog", 3.0]]\n    ]\n}'
    )


def test_classify_without_labels_and_with_context(server: RestServer) -> None:
    body = json.dumps({"signature_name": "scores_only", "context": {"x": [0.5, 0.5]}, "examples": [{}, {}]})
    answer = server.ask("POST", "/v1/models/judge:classify", body)
    assert json.loads(answer.body) == {"results": [[["", 0.5], ["", 0.5]]] * 2}


def test_regress(server: RestServer) -> None:
    body = json.dumps({"signature_name": "sum", "examples": [{"x": [0.25, 0.5]}, {"x": [1.0, 2.0]}]})
    answer = server.ask("POST", "/v1/models/judge:regress", body)
    assert (answer.status, answer.body) == (200, b'{\n    "results": [0.75, 3.0]\n}')


WRONG_METHOD = "Expected {} signature method_name to be tensorflow/serving/{}. Was: tensorflow/serving/{}"


@pytest.mark.parametrize(
    ("path", "body", "error"),
    [
        (
            "judge:regress",
            '{"examples": [{"x": [1.0, 2.0]}]}',
            WRONG_METHOD.format("regression", "regress", "classify"),
        ),
        ("half:classify", '{"examples": [{}]}', WRONG_METHOD.format("classification", "classify", "predict")),
        (
            "judge:classify",
            '{"signature_name": "zz", "examples": [{}]}',
            "No signature was found with the name: zz",
        ),
        (
            "judge:classify",
            '{"examples": [{"x": [1.0, "a"]}]}',
            "Unexpected element type in feature: x expecting type: float",
        ),
        (
            "nosuch:classify",
            '{"examples": 1}',
            "JSON Value: {\n    \"examples\": 1\n} Expecting 'examples' value to be an list/array",
        ),
    ],
)
def test_what_cannot_be_classified(server: RestServer, path: str, body: str, error: str) -> None:
    answer = server.ask("POST", f"/v1/models/{path}", body)
    assert (answer.status, answer.body) == (400, error_body(error))


def test_examples_that_do_not_fit_are_told_in_the_kernels_words(server: RestServer) -> None:
    answer = server.ask("POST", "/v1/models/judge:classify", '{"examples": [{"x": [1, 2]}]}')
    assert answer.status == 400
    assert "Data types don't match. Data type: int64" in json.loads(answer.body)["error"]


def test_numbers_of_a_large_answer_are_those_of_the_model(server: RestServer) -> None:
    """More numbers than are written on the event loop itself."""
    values = (np.arange(70_000, dtype=np.float32) / 7).reshape(-1, 1000)
    body = json.dumps({"instances": values.tolist()})
    answer = server.ask("POST", "/v1/models/numbers:predict", body)
    assert answer.status == 200
    np.testing.assert_array_equal(np.array(json.loads(answer.body)["predictions"], np.float32), values)
