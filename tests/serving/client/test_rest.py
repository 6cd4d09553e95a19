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
from tests.serving.client.scripted import Answer, Asked, in_turn, predictions, scripted

BUSY_TEXT = "The batch scheduling queue to which this task was submitted is full"
BUSY = Answer(503, {"error": BUSY_TEXT})
UNKNOWN = "Unknown image file format. One of JPEG, PNG, GIF, BMP required.\n\t [[{{node DecodeImage}}]]"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names a proxy, as offices do; none leads back to this machine."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)


def test_a_request_is_tensorflow_serving_s_and_nothing_else() -> None:
    with scripted(in_turn(predictions(0.9, 0.25))) as server, Client(server.url) as client:
        found = client.predict([b"one", b"two"])
    assert found == [Prediction(0.9, "dog", "dog"), Prediction(0.25, "dog", "cat")]
    (asked,) = server.asked
    assert (asked.method, asked.path) == ("POST", "/v1/models/catsdogs:predict")
    sent = [{"b64": base64.b64encode(picture).decode()} for picture in (b"one", b"two")]
    assert asked.body == {"instances": sent}


@pytest.mark.parametrize(
    ("chosen", "path"),
    [
        ({"version": 7}, "/behind/v1/models/a%20model/versions/7:predict"),
        ({"label": "a:b"}, "/behind/v1/models/a%20model/labels/a%3Ab:predict"),
        ({"label": "stable"}, "/behind/v1/models/a%20model/labels/stable:predict"),
    ],
)
def test_version_label_and_the_path_of_a_proxy_are_in_the_address(chosen: dict[str, int], path: str) -> None:
    with (
        scripted(in_turn(predictions(1))) as server,
        Client(f"{server.url}/behind/", "a model", **chosen) as client,  # type: ignore[arg-type]
    ):
        (found,) = client.predict([b"picture"])
    assert [asked.path for asked in server.asked] == [path]
    assert found.version == chosen.get("version")


def test_the_probability_s_name_is_read_from_the_answer() -> None:
    row = {"bee_probability": 0.75, "label": "bee"}
    with scripted(in_turn(Answer(body={"predictions": [row]}))) as server, Client(server.url) as client:
        assert client.predict([b"picture"]) == [Prediction(0.75, "bee", "bee")]


@pytest.mark.parametrize(
    "rows", [[2.5], [{"y": 1.0}], [{"label": "cat"}], [{"label": 1, "a_probability": 1}]]
)
def test_an_answer_of_another_kind_of_model_is_an_error(rows: list[object]) -> None:
    with (
        scripted(in_turn(Answer(body={"predictions": rows}))) as server,
        Client(server.url) as client,
        pytest.raises(ServingError, match=server.url),
    ):
        client.predict([b"picture"])


@pytest.mark.parametrize(
    "passing",
    [
        BUSY,
        Answer(502, b"<html>"),
        Answer(504, {"error": "Deadline exceeded"}),
        Answer(429, {"error": "slow down"}, {"Retry-After": "0"}),
        Answer(body={"predictions": []}, broken=True),
    ],
)
def test_what_passes_is_tried_again(passing: Answer) -> None:
    with scripted(in_turn(passing, passing, predictions(1))) as server, Client(server.url) as client:
        assert client.predict([b"picture"]) == [Prediction(1, "dog", "dog")]
    assert len(server.asked) == 3


def test_what_does_not_pass_ends_with_the_server_s_words() -> None:
    with (
        scripted(in_turn(BUSY)) as server,
        Client(server.url, retries=2) as client,
        pytest.raises(Unreachable, match=f"503.*{BUSY_TEXT}"),
    ):
        client.predict([b"picture"])
    assert len(server.asked) == 3


def test_retry_after_is_obeyed() -> None:
    answers = in_turn(Answer(503, {}, {"Retry-After": "1"}), predictions(1))
    began = time.monotonic()
    with scripted(answers) as server, Client(server.url) as client:
        client.predict([b"picture"])
    assert 0.9 < time.monotonic() - began < 3


def test_no_try_begins_after_the_deadline() -> None:
    began = time.monotonic()
    with (
        scripted(in_turn(Answer(503, {}, {"Retry-After": "60"}))) as server,
        Client(server.url, timeout=1) as client,
        pytest.raises(Unreachable),
    ):
        client.predict([b"picture"])
    assert len(server.asked) == 1
    assert time.monotonic() - began < 1


def test_a_server_that_starts_late_is_waited_for() -> None:
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
def test_where_nobody_listens_the_error_says_what_to_do(scheme: str) -> None:
    url = f"{scheme}://127.0.0.1:{free_port()}"
    with (
        Client(url, retries=1) as client,
        pytest.raises(Unreachable, match=f"{url}.*catsdogs serve"),
    ):
        client.status()


def test_a_server_that_never_answers_is_left_at_the_deadline() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        began = time.monotonic()
        with (
            Client(f"http://127.0.0.1:{mute.getsockname()[1]}", timeout=0.5) as client,
            pytest.raises(Unreachable, match=r"0\.5 s"),
        ):
            client.predict([b"picture"])
    assert time.monotonic() - began < 2


@pytest.mark.parametrize(
    ("at_once", "dripped"),
    [
        (b"", b"HTTP/1.1 200 OK\r\n" + b"X-Nothing: 1\r\n" * 100),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", b" " * 1000),
        (b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{}", b" " * 1000),
    ],
)
def test_a_server_that_drips_is_left_at_the_deadline(at_once: bytes, dripped: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def drip() -> None:
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.recv(65536)
                connection.sendall(at_once)
                for byte in dripped:
                    time.sleep(0.05)
                    connection.sendall(bytes([byte]))

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        with (
            Client(f"http://127.0.0.1:{listening.getsockname()[1]}", timeout=0.5) as client,
            pytest.raises(Unreachable, match=r"0\.5 s"),
        ):
            client.status()
        assert time.monotonic() - began < 1.5
        dripping.join()


def test_a_server_behind_a_proxy_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted(in_turn(Answer(body={"model_version_status": []}))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with Client("http://models.example") as client:
            assert client.status() == []
    assert proxy.asked[0].path == "http://models.example/v1/models/catsdogs"


def test_an_answer_without_end_is_not_read_to_its_end() -> None:
    with (
        scripted(in_turn(Answer(body=b" " * 17 * 2**20))) as server,
        Client(server.url) as client,
        pytest.raises(ServingError, match="16 MiB"),
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
def test_metadata_and_status_of_another_program_are_recognised(body: dict) -> None:
    with scripted(in_turn(Answer(body=body))) as server, Client(server.url) as client:
        with pytest.raises(ServingError, match="8501"):
            client.status()
        with pytest.raises(ServingError, match="8501"):
            client.metadata()


def test_a_refusal_is_not_tried_again_and_keeps_the_server_s_text() -> None:
    text = "Servable not found for request: Latest(other)"
    with (
        scripted(in_turn(Answer(404, {"error": text}))) as server,
        Client(server.url, "other") as client,
        pytest.raises(RequestRejected, match="404") as refused,
    ):
        client.predict([b"picture"])
    assert (refused.value.code, refused.value.text) == ("NOT_FOUND", text)
    assert len(server.asked) == 1


@pytest.mark.parametrize(
    ("answer", "names"),
    [
        (Answer(404, b"<html>Not Found</html>"), "404 Not Found"),
        (Answer(302, b"", {"Location": "/login"}), "302 Found"),
        (Answer(200, b"<html>Welcome</html>"), "JSON"),
        (Answer(200, b"[" * 2**20), "JSON"),
        (Answer(body={"predictions": [{}, {}]}), "1 predictions"),
    ],
)
def test_another_program_is_recognised(answer: Answer, names: str) -> None:
    with (
        scripted(in_turn(answer)) as server,
        Client(server.url) as client,
        pytest.raises(ServingError, match=f"{server.url}.*8501.*{names}"),
    ):
        client.predict([b"picture"])
    assert len(server.asked) == 1


def test_what_does_not_speak_http_is_recognised() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def speak() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        speaking = threading.Thread(target=speak)
        speaking.start()
        with (
            Client(f"http://127.0.0.1:{listening.getsockname()[1]}") as client,
            pytest.raises(ServingError, match="8501"),
        ):
            client.predict([b"picture"])
        speaking.join()


def test_a_port_without_tls_is_told() -> None:
    with (
        scripted(in_turn(predictions(1))) as server,
        Client(server.url.replace("http:", "https:"), retries=0) as client,
        pytest.raises(ServingError, match="TLS.*REQUESTS_CA_BUNDLE"),
    ):
        client.predict([b"picture"])


def test_an_authority_of_one_s_own_is_trusted_where_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=127.0.0.1"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    with scripted(in_turn(predictions(1)), tls=(certificate, key)) as server:
        with Client(server.url, retries=0) as client, pytest.raises(ServingError, match="REQUESTS_CA_BUNDLE"):
            client.predict([b"picture"])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        with Client(server.url) as client:
            assert client.predict([b"picture"]) == [Prediction(1, "dog", "dog")]
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "absent.pem"))
        with pytest.raises(UsageError, match="absent.pem"):
            Client(server.url)


def test_a_bad_picture_costs_no_other_its_answer() -> None:
    def answer(asked: Asked) -> Answer:
        sent = [base64.b64decode(row["b64"]) for row in asked.body["instances"]]
        return Answer(400, {"error": UNKNOWN}) if b"bad" in sent else predictions(*[1] * len(sent))

    pictures = [b"good"] * 20
    pictures[5] = pictures[17] = b"bad"
    with scripted(answer) as server, Client(server.url) as client:
        found = list(client.answers(pictures))
        with pytest.raises(RequestRejected) as refused_one:
            client.predict(pictures)
    assert refused_one.value.text == UNKNOWN
    refused = [index for index, one in enumerate(found) if isinstance(one, RequestRejected)]
    assert refused == [5, 17]
    assert found[5].text == UNKNOWN  # type: ignore[union-attr]
    assert len(server.asked) < 2 * 20


@pytest.mark.parametrize("refusal", [Answer(413, b"<html>"), Answer(400, {"error": "Task size 4 is larger"})])
def test_a_batch_that_is_too_large_is_split(refusal: Answer) -> None:
    def answer(asked: Asked) -> Answer:
        count = len(asked.body["instances"])
        return refusal if count > 3 else predictions(*[1] * count)

    with scripted(answer) as server, Client(server.url, batch=10) as client:
        assert len(client.predict([b"picture"] * 10)) == 10
    assert server.asked[0].path == "/v1/models/catsdogs:predict"


def test_requests_are_no_larger_than_servers_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serving.client.client.MAX_REQUEST_BYTES", 100)

    def answer(asked: Asked) -> Answer:
        return predictions(*[1] * len(asked.body["instances"]))

    with scripted(answer) as server, Client(server.url) as client:
        client.predict([b"p" * 40] * 5 + [b"p" * 150])
    assert [len(asked.body["instances"]) for asked in server.asked] == [2, 2, 1, 1]


def test_the_version_is_told_though_answers_over_rest_do_not_tell_it() -> None:
    served = iter(["7", "7", "8"])  # 7 is replaced between the first metadata and the picture

    def answer(asked: Asked) -> Answer:
        if asked.method == "GET":
            return Answer(body={"model_spec": {"name": "catsdogs", "version": next(served)}})
        if "/versions/7:" in asked.path:
            return Answer(404, {"error": "Servable not found for request: Specific(catsdogs, 7)"})
        return predictions(1)

    with scripted(answer) as server, Client(server.url, label="stable", tell_version=True) as client:
        assert client.predict([b"picture"]) == [Prediction(1, "dog", "dog", 8)]
    assert server.asked[0].path == "/v1/models/catsdogs/labels/stable/metadata"


def test_threads_share_a_client() -> None:
    def answer(asked: Asked) -> Answer:
        return predictions(*[len(row["b64"]) / 100 for row in asked.body["instances"]])

    wrong: list[object] = []
    with scripted(answer) as server, Client(server.url) as client:

        def ask(size: int) -> None:
            for _ in range(10):
                (found,) = client.predict([b"p" * 3 * size])
                if found.probability != 4 * size / 100:
                    wrong.append(found)

        threads = [threading.Thread(target=ask, args=(size,)) for size in range(1, 9)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert wrong == []
    assert len(server.asked) == 80


def test_code_that_runs_in_an_event_loop_may_use_it() -> None:
    async def program() -> list[Prediction]:
        with Client(server.url) as client:
            return client.predict([b"picture"])

    with scripted(in_turn(predictions(1))) as server:
        assert asyncio.run(program()) == [Prediction(1, "dog", "dog")]


def test_a_client_that_is_not_closed_keeps_no_script_from_its_end() -> None:
    script = "import sys; from serving.client import Client; print(Client(sys.argv[1]).predict([b'picture']))"
    with scripted(in_turn(predictions(1))) as server:
        ended = subprocess.run(
            [sys.executable, "-Walways", "-c", script, server.url], capture_output=True, text=True, timeout=30
        )
    assert (ended.returncode, ended.stderr) == (0, "")
    assert str(Prediction(1.0, "dog", "dog")) in ended.stdout
