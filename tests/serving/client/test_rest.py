from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from serving.client import Client, Prediction, RequestRejected, Unreachable
from serving.errors import ServingError, UsageError
from tests.serving.client.scripted_server import (
    ReceivedRequest,
    Response,
    predictions_response,
    respond_in_turn,
    scripted_server,
)

OVERLOADED_TEXT = "The batch scheduling queue to which this task was submitted is full"
OVERLOADED = Response(503, {"error": OVERLOADED_TEXT})
UNKNOWN = "Unknown image file format. One of JPEG, PNG, GIF, BMP required.\n\t [[{{node DecodeImage}}]]"


def free_port() -> int:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return int(unused.getsockname()[1])


@pytest.fixture(autouse=True)
def unusable_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configures a proxy that does not work: requests to this machine must not use it."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


def test_a_request_follows_tensorflow_serving_s_protocol() -> None:
    with (
        scripted_server(respond_in_turn(predictions_response(0.9, 0.25))) as server,
        Client(server.url) as client,
    ):
        predictions = client.predict([b"one", b"two"])
    assert predictions == [Prediction(0.9, "dog", "dog"), Prediction(0.25, "dog", "cat")]
    (request,) = server.requests
    assert (request.method, request.path) == ("POST", "/v1/models/catsdogs:predict")
    sent = [{"b64": base64.b64encode(image).decode()} for image in (b"one", b"two")]
    assert request.body == {"instances": sent}


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"version": 7}, "/behind/v1/models/a%20model/versions/7:predict"),
        ({"label": "a:b"}, "/behind/v1/models/a%20model/labels/a%3Ab:predict"),
        ({"label": "stable"}, "/behind/v1/models/a%20model/labels/stable:predict"),
    ],
)
def test_the_request_path_has_version_label_and_proxy_prefix(options: dict[str, int], path: str) -> None:
    with (
        scripted_server(respond_in_turn(predictions_response(1))) as server,
        Client(f"{server.url}/behind/", "a model", **options) as client,  # type: ignore[arg-type]
    ):
        (prediction,) = client.predict([b"image"])
    assert [request.path for request in server.requests] == [path]
    assert prediction.version == options.get("version")


def test_the_class_name_comes_from_the_output_name() -> None:
    row = {"bee_probability": 0.75, "label": "bee"}
    with (
        scripted_server(respond_in_turn(Response(body={"predictions": [row]}))) as server,
        Client(server.url) as client,
    ):
        assert client.predict([b"image"]) == [Prediction(0.75, "bee", "bee")]


@pytest.mark.parametrize(
    "rows", [[2.5], [{"y": 1.0}], [{"label": "cat"}], [{"label": 1, "a_probability": 1}]]
)
def test_outputs_of_another_kind_of_model_are_an_error(rows: list[object]) -> None:
    with (
        scripted_server(respond_in_turn(Response(body={"predictions": rows}))) as server,
        Client(server.url) as client,
        pytest.raises(ServingError, match=server.url),
    ):
        client.predict([b"image"])


@pytest.mark.parametrize(
    "temporary",
    [
        OVERLOADED,
        Response(502, b"<html>"),
        Response(504, {"error": "Deadline exceeded"}),
        Response(429, {"error": "slow down"}, {"Retry-After": "0"}),
        Response(body={"predictions": []}, broken=True),
    ],
)
def test_temporary_failures_are_retried(temporary: Response) -> None:
    with (
        scripted_server(respond_in_turn(temporary, temporary, predictions_response(1))) as server,
        Client(server.url) as client,
    ):
        assert client.predict([b"image"]) == [Prediction(1, "dog", "dog")]
    assert len(server.requests) == 3


def test_a_lasting_failure_ends_with_the_server_s_message() -> None:
    with (
        scripted_server(respond_in_turn(OVERLOADED)) as server,
        Client(server.url, retries=2) as client,
        pytest.raises(Unreachable, match=f"503.*{OVERLOADED_TEXT}"),
    ):
        client.predict([b"image"])
    assert len(server.requests) == 3


def test_retry_after_is_respected() -> None:
    responses = respond_in_turn(Response(503, {}, {"Retry-After": "1"}), predictions_response(1))
    started_at = time.monotonic()
    with scripted_server(responses) as server, Client(server.url) as client:
        client.predict([b"image"])
    assert 0.9 < time.monotonic() - started_at < 3


def test_no_attempt_starts_after_the_deadline() -> None:
    started_at = time.monotonic()
    with (
        scripted_server(respond_in_turn(Response(503, {}, {"Retry-After": "60"}))) as server,
        Client(server.url, timeout=1) as client,
        pytest.raises(Unreachable),
    ):
        client.predict([b"image"])
    assert len(server.requests) == 1
    assert time.monotonic() - started_at < 1


def test_the_client_waits_for_a_server_that_starts_late() -> None:
    port = free_port()
    with socket.socket() as late:
        late.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

        def start() -> None:
            late.bind(("127.0.0.1", port))
            late.listen()
            connection, _ = late.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(
                    b'HTTP/1.1 200 OK\r\nContent-Length: 28\r\n\r\n{"model_version_status": []}'
                )

        starting = threading.Timer(0.2, start)
        starting.start()
        with Client(f"http://127.0.0.1:{port}", retries=20) as client:
            assert client.status() == []
        starting.join()


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_an_unreachable_server_names_the_url_and_the_command_to_start_one(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    with (
        Client(url, retries=1) as client,
        pytest.raises(Unreachable, match=f"{url}.*catsdogs serve"),
    ):
        client.status()


def test_a_server_that_never_responds_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        started_at = time.monotonic()
        with (
            Client(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout=0.5) as client,
            pytest.raises(Unreachable, match=r"0\.5 s"),
        ):
            client.predict([b"image"])
    assert time.monotonic() - started_at < 2


@pytest.mark.parametrize(
    ("first", "slow"),
    [
        (b"", b"HTTP/1.1 200 OK\r\n" + b"X-Nothing: 1\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" " * 1000),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", b" " * 1000),
    ],
)
def test_a_server_that_sends_slowly_times_out(first: bytes, slow: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def send_slowly() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(first)
                for byte in slow:
                    time.sleep(0.05)
                    connection.sendall(bytes([byte]))

        sending = threading.Thread(target=send_slowly)
        sending.start()
        started_at = time.monotonic()
        with (
            Client(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.5) as client,
            pytest.raises(Unreachable, match=r"0\.5 s"),
        ):
            client.status()
        assert time.monotonic() - started_at < 1.5
        sending.join()


def test_a_configured_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(respond_in_turn(Response(body={"model_version_status": []}))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with Client("http://models.example") as client:
            assert client.status() == []
    assert proxy.requests[0].path == "http://models.example/v1/models/catsdogs"


def test_a_response_above_the_limit_is_not_read_to_the_end() -> None:
    with (
        scripted_server(respond_in_turn(Response(body=b" " * 17 * 2**20))) as server,
        Client(server.url) as client,
        pytest.raises(ServingError, match="4 MiB"),
    ):
        client.status()


@pytest.mark.parametrize(
    "body",
    [
        {"model_spec": None},
        {"model_spec": {"version": "x"}},
        {"model_version_status": [{}]},
        {"model_version_status": None},
    ],
)
def test_metadata_and_status_of_another_program_are_errors(body: dict) -> None:
    with scripted_server(respond_in_turn(Response(body=body))) as server, Client(server.url) as client:
        with pytest.raises(ServingError, match="8501"):
            client.status()
        with pytest.raises(ServingError, match="8501"):
            client.metadata()


def test_a_rejected_request_is_not_retried_and_keeps_the_server_s_text() -> None:
    text = "Servable not found for request: Latest(other)"
    with (
        scripted_server(respond_in_turn(Response(404, {"error": text}))) as server,
        Client(server.url, "other") as client,
        pytest.raises(RequestRejected, match="404") as error,
    ):
        client.predict([b"image"])
    assert (error.value.code, error.value.text) == ("NOT_FOUND", text)
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("response", "pattern"),
    [
        (Response(404, b"<html>Not Found</html>"), "404 Not Found"),
        (Response(302, b"", {"Location": "/login"}), "302 Found"),
        (Response(200, b"<html>Welcome</html>"), "JSON"),
        (Response(200, b"[" * 2**20), "JSON"),
        (Response(body={"predictions": [{}, {}]}), "1 predictions"),
    ],
)
def test_responses_of_another_program_are_errors(response: Response, pattern: str) -> None:
    with (
        scripted_server(respond_in_turn(response)) as server,
        Client(server.url) as client,
        pytest.raises(ServingError, match=f"{server.url}.*8501.*{pattern}"),
    ):
        client.predict([b"image"])
    assert len(server.requests) == 1


def test_a_server_without_http_is_an_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def send_banner() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        sending = threading.Thread(target=send_banner)
        sending.start()
        with (
            Client(f"http://127.0.0.1:{listening.getsockname()[1]}") as client,
            pytest.raises(ServingError, match="8501"),
        ):
            client.predict([b"image"])
        sending.join()


def test_https_to_a_port_without_tls_is_an_error() -> None:
    with (
        scripted_server(respond_in_turn(predictions_response(1))) as server,
        Client(server.url.replace("http:", "https:"), retries=0) as client,
        pytest.raises(ServingError, match="TLS.*REQUESTS_CA_BUNDLE"),
    ):
        client.predict([b"image"])


def test_a_certificate_in_requests_ca_bundle_is_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with scripted_server(respond_in_turn(predictions_response(1)), tls=(certificate, key)) as server:
        with Client(server.url, retries=0) as client, pytest.raises(ServingError, match="REQUESTS_CA_BUNDLE"):
            client.predict([b"image"])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with Client(server.url) as client:
            assert client.predict([b"image"]) == [Prediction(1, "dog", "dog")]
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))
        with pytest.raises(UsageError, match="absent.pem"):
            Client(server.url)


def test_a_bad_image_does_not_affect_the_others() -> None:
    def respond(request: ReceivedRequest) -> Response:
        images = [base64.b64decode(row["b64"]) for row in request.body["instances"]]
        return (
            Response(400, {"error": UNKNOWN})
            if b"bad" in images
            else predictions_response(*[1] * len(images))
        )

    images = [b"good"] * 20
    images[5] = images[17] = b"bad"
    with scripted_server(respond) as server, Client(server.url) as client:
        results = list(client.predict_each(images))
        with pytest.raises(RequestRejected) as error:
            client.predict(images)
    assert error.value.text == UNKNOWN
    rejected = [index for index, result in enumerate(results) if isinstance(result, RequestRejected)]
    assert rejected == [5, 17]
    assert results[5].text == UNKNOWN  # type: ignore[union-attr]
    assert len(server.requests) < 2 * 20


@pytest.mark.parametrize(
    "rejection", [Response(413, b"<html>"), Response(400, {"error": "Task size 4 is larger"})]
)
def test_a_batch_that_is_too_large_is_split(rejection: Response) -> None:
    def respond(request: ReceivedRequest) -> Response:
        count = len(request.body["instances"])
        return rejection if count > 3 else predictions_response(*[1] * count)

    with scripted_server(respond) as server, Client(server.url, batch=10) as client:
        assert len(client.predict([b"image"] * 10)) == 10
    assert server.requests[0].path == "/v1/models/catsdogs:predict"


def test_requests_stay_below_the_size_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.client.client.MAX_REQUEST_BYTES", 100)

    def respond(request: ReceivedRequest) -> Response:
        return predictions_response(*[1] * len(request.body["instances"]))

    with scripted_server(respond) as server, Client(server.url) as client:
        client.predict([b"p" * 40] * 5 + [b"p" * 150])
    assert [len(request.body["instances"]) for request in server.requests] == [2, 2, 1, 1]


def test_include_version_adds_the_version_over_rest() -> None:
    served = iter(["7", "7", "8"])  # 7 is replaced between the first metadata request and the prediction

    def respond(request: ReceivedRequest) -> Response:
        if request.method == "GET":
            return Response(body={"model_spec": {"name": "catsdogs", "version": next(served)}})
        if "/versions/7:" in request.path:
            return Response(404, {"error": "Servable not found for request: Specific(catsdogs, 7)"})
        return predictions_response(1)

    with (
        scripted_server(respond) as server,
        Client(server.url, label="stable", include_version=True) as client,
    ):
        assert client.predict([b"image"]) == [Prediction(1, "dog", "dog", 8)]
    assert server.requests[0].path == "/v1/models/catsdogs/labels/stable/metadata"


def test_threads_can_share_a_client() -> None:
    def respond(request: ReceivedRequest) -> Response:
        return predictions_response(*[len(row["b64"]) / 100 for row in request.body["instances"]])

    wrong: list[object] = []
    with scripted_server(respond) as server, Client(server.url) as client:

        def send_requests(size: int) -> None:
            for _ in range(10):
                (prediction,) = client.predict([b"p" * 3 * size])
                if prediction.probability != 4 * size / 100:
                    wrong.append(prediction)

        threads = [threading.Thread(target=send_requests, args=(size,)) for size in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(server.requests) == 80


def test_the_client_works_inside_an_event_loop() -> None:
    async def program() -> list[Prediction]:
        with Client(server.url) as client:
            return client.predict([b"image"])

    with scripted_server(respond_in_turn(predictions_response(1))) as server:
        assert asyncio.run(program()) == [Prediction(1, "dog", "dog")]


def test_a_client_that_is_not_closed_does_not_keep_the_process_alive() -> None:
    script = "import sys; from serving.client import Client; print(Client(sys.argv[1]).predict([b'image']))"
    with scripted_server(respond_in_turn(predictions_response(1))) as server:
        ended = subprocess.run(
            [sys.executable, "-Walways", "-c", script, server.url], capture_output=True, text=True, timeout=30
        )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert str(Prediction(1.0, "dog", "dog")) in ended.stdout
