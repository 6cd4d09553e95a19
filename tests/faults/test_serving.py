"""A server under load: malformed requests, memory over many requests, kill -9 and SIGTERM."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import itertools
import json
import os
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import grpc
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis.predict_pb2 import PredictRequest
from tensorflow_serving.apis.prediction_service_pb2_grpc import PredictionServiceStub

from serving.client import Client
from serving.local.server_process import RunningServer, run_local_server
from tests.serving import bad_images, saved_models

pytestmark = pytest.mark.slow

CLIENTS = 32
MIB = 2**20
MAX_BODY_BYTES = 100_000
PREDICT = "/v1/models/m:predict"


def _image(red: int, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (red, 255 - red, 90)).save(buffer, kind)
    return buffer.getvalue()


IMAGES = [_image(20 * step, ("JPEG", "PNG")[step % 2]) for step in range(12)]


def _rest_body(image: bytes, **fields: Any) -> bytes:
    return json.dumps({"instances": [{"b64": base64.b64encode(image).decode()}], **fields}).encode()


def _grpc_request(image: bytes | float, model: str = "m", **spec: Any) -> PredictRequest:
    request = PredictRequest(model_spec={"name": model, **spec})
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    return request


GOOD_REST = [_rest_body(image) for image in IMAGES]
GOOD_GRPC = [_grpc_request(image) for image in IMAGES]
BAD_REST: list[tuple[int, str, bytes, dict[str, str]]] = [  # status, path, body, headers
    (400, PREDICT, b'{"instances": [', {}),
    (400, PREDICT, b"", {}),
    (400, PREDICT, b'{"instances": [{"b64": "?"}]}', {}),
    (400, PREDICT, b'{"instances": [3]}', {}),
    (400, PREDICT, _rest_body(b"not an image"), {}),
    (400, PREDICT, _rest_body(bad_images.encode("JPEG", size=(200, 200))[:1000]), {}),
    (400, PREDICT, _rest_body(bad_images.png_claiming(50_000, 50_000)), {}),
    (400, PREDICT, _rest_body(IMAGES[0], signature_name="none"), {}),
    (400, PREDICT, GOOD_REST[0], {"Content-Encoding": "gzip"}),
    (400, f"{PREDICT}?query", GOOD_REST[0], {}),
    (404, "/v1/models/none:predict", GOOD_REST[0], {}),
    (404, "/v1/models/m/versions/7:predict", GOOD_REST[0], {}),
    (413, PREDICT, b" " * (MAX_BODY_BYTES + 1), {}),
    (403, PREDICT, GOOD_REST[0], {"Host": "evil.example"}),
    (403, PREDICT, GOOD_REST[0], {"Origin": "http://evil.example"}),
]
BAD_GRPC = [
    (grpc.StatusCode.INVALID_ARGUMENT, _grpc_request(b"not an image")),
    (grpc.StatusCode.INVALID_ARGUMENT, _grpc_request(bad_images.jpeg_claiming(50_000, 50_000))),
    (grpc.StatusCode.INVALID_ARGUMENT, _grpc_request(3.0)),
    (grpc.StatusCode.FAILED_PRECONDITION, _grpc_request(IMAGES[0], signature_name="none")),
    (grpc.StatusCode.INVALID_ARGUMENT, PredictRequest(model_spec={"name": "m"})),
    (grpc.StatusCode.NOT_FOUND, _grpc_request(IMAGES[0], model="none")),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, _grpc_request(b" " * MAX_BODY_BYTES)),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_models.classifier(tmp_path_factory.mktemp("served") / "m").parent


@pytest.fixture(scope="module")
def probabilities(folder: Path) -> np.ndarray:
    """The right prediction for each of the images; no two are similar."""
    model = tf.saved_model.load(str(folder / "1"))
    values = model.signatures["serving_default"](image_bytes=tf.constant(IMAGES))["dog_probability"].numpy()
    assert np.diff(np.sort(values)).min() > 1e-3
    return values


@pytest.fixture
def server(folder: Path) -> Iterator[RunningServer]:
    with run_local_server(folder, "m", max_body_bytes=MAX_BODY_BYTES) as running:
        yield running


class Sender:
    """Sends requests over REST and gRPC by number, and checks the responses. Every tenth is malformed."""

    def __init__(
        self, url: str, session: aiohttp.ClientSession, stub: PredictionServiceStub, right: np.ndarray
    ) -> None:
        self._url = url
        self._session = session
        self._stub = stub
        self._right = right

    async def send(self, number: int) -> str:
        """Returns `right`, `rejected`, or what was wrong with the response to a request."""
        turn, digit = divmod(number, 10)
        if digit == 9:
            if turn % 2:
                return await self._send_bad_grpc(*BAD_GRPC[turn // 2 % len(BAD_GRPC)])
            return await self._send_bad_rest(*BAD_REST[turn // 2 % len(BAD_REST)])
        image = number % len(IMAGES)
        probability = await (self._predict_rest if turn % 2 else self._predict_grpc)(image)
        return "right" if abs(probability - self._right[image]) < 1e-5 else f"{probability} for image {image}"

    async def _predict_rest(self, image: int) -> float:
        async with self._session.post(self._url + PREDICT, data=GOOD_REST[image]) as response:
            assert response.status == 200, await response.text()
            (prediction,) = (await response.json())["predictions"]
            return prediction["dog_probability"]

    async def _predict_grpc(self, image: int) -> float:
        response = await self._stub.Predict(GOOD_GRPC[image], timeout=60)
        return response.outputs["dog_probability"].float_val[0]

    async def _send_bad_rest(self, status: int, path: str, body: bytes, headers: dict[str, str]) -> str:
        async with self._session.post(self._url + path, data=body, headers=headers) as response:
            document = await response.json()
            if (response.status, [*document]) == (status, ["error"]):
                return "rejected"
            return f"{response.status} instead of {status}: {document}"

    async def _send_bad_grpc(self, code: grpc.StatusCode, request: PredictRequest) -> str:
        try:
            await self._stub.Predict(request, timeout=60)
        except grpc.aio.AioRpcError as error:
            if error.code() != code:
                raise
            return "rejected"
        return f"a prediction instead of {code}"


@contextlib.asynccontextmanager
async def sender(server: RunningServer, right: np.ndarray) -> AsyncIterator[Sender]:
    options = [("grpc.enable_http_proxy", 0)]
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
        grpc.aio.insecure_channel(server.grpc_address, options) as channel,
    ):
        yield Sender(server.rest_url, session, PredictionServiceStub(channel), right)


async def send_all(sender: Sender, count: int) -> Counter[str]:
    """Sends a number of requests from concurrent clients, and counts the results."""
    numbers = iter(range(count))
    results: Counter[str] = Counter()

    async def client() -> None:
        for number in numbers:
            results[await sender.send(number)] += 1

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return results


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.faults)])
def test_malformed_requests_do_not_affect_others(
    server: RunningServer, probabilities: np.ndarray, count: int
) -> None:
    async def main() -> Counter[str]:
        async with sender(server, probabilities) as clients:
            return await send_all(clients, count)

    started = time.monotonic()
    results = asyncio.run(main())
    print(f"{count / (time.monotonic() - started):.0f} requests/s")
    assert results == {"right": count * 9 // 10, "rejected": count // 10}


def memory(server: RunningServer) -> float:
    """Returns the memory that a server's process holds, in MiB."""
    pages = int(Path(f"/proc/{server.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / MIB


@pytest.mark.parametrize(
    ("warm_up", "count"), [(2_000, 3_000), pytest.param(20_000, 80_000, marks=pytest.mark.faults)]
)
def test_memory_is_flat(server: RunningServer, probabilities: np.ndarray, warm_up: int, count: int) -> None:
    async def main() -> list[float]:
        async with sender(server, probabilities) as clients:
            await send_all(clients, warm_up)
            measured = [memory(server)]
            for _ in range(4):
                await send_all(clients, count // 4)
                measured.append(memory(server))
            return measured

    measured = asyncio.run(main())
    print(measured)
    assert measured[-1] - measured[0] < 8


@pytest.mark.parametrize(
    ("number", "times"),
    [
        pytest.param(signal.SIGKILL, 1, id="once"),
        pytest.param(signal.SIGKILL, 4, id="SIGKILL", marks=pytest.mark.faults),
        pytest.param(signal.SIGTERM, 4, id="SIGTERM", marks=pytest.mark.faults),
    ],
)
def test_clients_lose_no_request_when_the_server_restarts(
    folder: Path, probabilities: np.ndarray, number: signal.Signals, times: int
) -> None:
    """A supervisor restarts the server on its ports; clients retry until it responds."""
    stop = threading.Event()
    predictions: Counter[str] = Counter()
    longest: dict[str, float] = defaultdict(float)
    ports: dict[str, Any] = {}
    with contextlib.ExitStack() as running:

        def start() -> RunningServer:
            server = running.enter_context(run_local_server(folder, "m", **ports))
            ports.update(rest_port=_port(server.rest_url), grpc_port=_port(f"//{server.grpc_address}"))
            return server

        def predict(url: str) -> None:
            with Client(url, "m", retries=100, timeout=120) as client:
                for image in itertools.cycle(range(len(IMAGES))):
                    if stop.is_set():
                        return
                    sent_at = time.monotonic()
                    (prediction,) = client.predict([IMAGES[image]])
                    longest[url] = max(longest[url], time.monotonic() - sent_at)
                    assert abs(prediction.probability - probabilities[image]) < 1e-5
                    predictions[url] += 1

        server = start()
        urls = [server.rest_url, f"grpc://{server.grpc_address}"]
        with ThreadPoolExecutor(8) as threads:
            clients = [threads.submit(predict, urls[number % 2]) for number in range(8)]
            try:
                for _ in range(times):
                    _wait_for_predictions(predictions, urls)
                    server.process.send_signal(number)
                    server.process.wait()
                    server = start()
                _wait_for_predictions(predictions, urls)
            finally:
                stop.set()
            for client in clients:
                client.result()
    print(predictions, dict(longest))


def _port(url: str) -> int:
    return urlsplit(url).port or 0


def _wait_for_predictions(predictions: Counter[str], urls: list[str]) -> None:
    """Waits until every URL has 100 more predictions."""
    wanted = {url: predictions[url] + 100 for url in urls}
    end = time.monotonic() + 120
    while any(predictions[url] < wanted[url] for url in urls):
        assert time.monotonic() < end, predictions
        time.sleep(0.01)


@pytest.mark.parametrize("stops", [1, pytest.param(5, marks=pytest.mark.faults)])
def test_a_stopped_server_finishes_its_requests(folder: Path, probabilities: np.ndarray, stops: int) -> None:
    for _ in range(stops):
        with run_local_server(folder, "m", max_body_bytes=MAX_BODY_BYTES) as server:
            results, failed_at, stopped_at = asyncio.run(_send_until_stopped(server, probabilities))
            assert server.process.wait(40) == 0
        print(results, len(failed_at))
        assert set(results) == {"right"}
        assert len(failed_at) == CLIENTS
        assert min(failed_at) > stopped_at


async def _send_until_stopped(
    server: RunningServer, probabilities: np.ndarray
) -> tuple[Counter[str], list[float], float]:
    """Sends SIGTERM under load.

    Returns:
        The number of results; the time when each client sent the request that failed because the server had
        stopped; and the time of the signal.
    """
    numbers = (number for number in itertools.count() if number % 10 != 9)  # none is malformed
    results: Counter[str] = Counter()
    failed_at = []

    async with sender(server, probabilities) as clients:

        async def client() -> None:
            while True:
                sent_at = time.monotonic()
                try:
                    results[await clients.send(next(numbers))] += 1
                except (aiohttp.ClientConnectionError, grpc.aio.AioRpcError):
                    failed_at.append(sent_at)
                    return

        async def stop() -> float:
            while results["right"] < 500:
                await asyncio.sleep(0.01)
            stopped_at = time.monotonic()
            await asyncio.sleep(0.1)  # so that the server has every request that was sent until stopped_at
            server.process.send_signal(signal.SIGTERM)
            return stopped_at

        running = asyncio.gather(*(client() for _ in range(CLIENTS)))
        stopped_at = await stop()
        await running
    return results, failed_at, stopped_at
