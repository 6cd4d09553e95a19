"""Sends requests from sixteen clients during pushes and a rollback, and invalid images to the same server."""

from __future__ import annotations

import base64
import json
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import pytest
import requests
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving import warmup
from serving.local import server_process
from serving.repository.manifest import Manifest, checksum_files
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from tests.serving import bad_images, saved_models

pytestmark = pytest.mark.slow

CLIENTS = 16
IMAGES = [bad_images.encode(kind, size=(40 + step, 30)) for step, kind in enumerate(("JPEG", "PNG", "JPEG"))]
FIRST, SECOND, THIRD = "first", "second", "third"
POLL_SECONDS = 1.0


@dataclass
class Served:
    """A model repository and the server that watches it.

    Attributes:
        numbers: Names of the versions by number; a version's class names contain its name.
    """

    repository: ModelRepository
    address: server_process.RunningServer
    log: Path
    numbers: dict[int, str] = field(default_factory=dict)

    def push(self, name: str, staged: Path) -> int:
        with self.repository.staging() as staging:
            shutil.copytree(staged, staging / "version")
            described = Manifest(files=checksum_files(staging / "version"), model_name="m")
            number = self.repository.push(staging / "version", described)
        self.numbers[number] = name
        return number


@pytest.fixture(scope="module")
def staged(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A model whose labels are `cat of NAME` and `dog of NAME`."""
    root = tmp_path_factory.mktemp("staged")

    def make(name: str) -> Path:
        names = (f"cat of {name}", f"dog of {name}")
        seed = len(name)
        folder = saved_models.classifier(root / name, 1, class_names=names, seed=seed)
        warmup.write_requests(folder / warmup.REQUESTS_FILE, "m", IMAGES[:1])
        return folder

    return make


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, staged: Callable[[str], Path]) -> Iterator[Served]:
    folder, log = tmp_path_factory.mktemp("served") / "m", tmp_path_factory.mktemp("log") / "log"
    repository = open_repository(str(folder), PushConfig("m", "/models/m", keep_versions=5))
    first = Served(repository, None, log)  # type: ignore[arg-type]  # set once the server runs
    first.push(FIRST, staged(FIRST))
    with server_process.run_local_server(folder, "m", log=log) as address:
        yield Served(repository, address, log, first.numbers)


@dataclass
class Prediction:
    """A prediction: times of request and response in seconds, version by class names and from gRPC."""

    client: str
    sent: float
    received: float
    name: str
    version: int | None


class Crowd:
    """Clients that send requests until they are stopped."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.predictions: list[Prediction] = []
        self.failures: list[str] = []
        clients = [self._rest(), self._grpc(), self._rest("/labels/stable"), self._grpc("canary")]
        kinds = ["latest", "latest", "stable", "canary"]
        self._threads = [
            threading.Thread(target=self._client, args=(kinds[number % 4], clients[number % 4]), daemon=True)
            for number in range(CLIENTS)
        ]

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)

    def first(self, name: str, client: str, since: float, seconds: float) -> float:
        """Waits for a version's first prediction; returns the seconds from `since` until then."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                for response in self.predictions:
                    if (response.name, response.client) == (name, client) and response.sent > since:
                        return response.received - since
            time.sleep(0.05)
        raise AssertionError(f"no prediction of {name} for {client} within {seconds} s")

    def _client(
        self, kind: str, connect: Callable[[], Callable[[], tuple[dict[str, list], int | None]]]
    ) -> None:
        send_request = connect()
        while not self._stop.is_set():
            sent = time.monotonic()
            try:
                outputs, version = send_request()
                name = self._version_name(outputs)
            except Exception as error:
                with self._lock:
                    self.failures.append(f"{kind}: {type(error).__name__}: {error}")
                continue
            with self._lock:
                self.predictions.append(Prediction(kind, sent, time.monotonic(), name, version))

    @staticmethod
    def _version_name(outputs: dict[str, list]) -> str:
        """Returns the name of the version that made all of a prediction."""
        assert len(outputs) == 2
        [probability] = outputs.keys() - {"label"}
        name = probability.removeprefix("dog of ").removesuffix("_probability")
        for label, value in zip(outputs["label"], outputs[probability], strict=True):
            assert label == f"{'dog' if value >= 0.5 else 'cat'} of {name}"
        assert len(outputs["label"]) == len(IMAGES)
        return name

    def _rest(self, where: str = "") -> Callable[[], Callable[[], tuple[dict[str, list], None]]]:
        body = {"inputs": [{"b64": base64.b64encode(image).decode()} for image in IMAGES]}
        text = json.dumps(body)

        def connect() -> Callable[[], tuple[dict[str, list], None]]:
            session = requests.Session()
            session.trust_env = False

            def send() -> tuple[dict[str, list], None]:
                url = f"{self._served.address.rest_url}/v1/models/m{where}:predict"
                response = session.post(url, data=text, timeout=30)
                assert response.status_code == 200, response.text
                return response.json()["outputs"], None

            return send

        return connect

    def _grpc(self, label: str = "") -> Callable[[], Callable[[], tuple[dict[str, list], int]]]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        if label:
            request.model_spec.version_label = label
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(IMAGES))

        def connect() -> Callable[[], tuple[dict[str, list], int]]:
            channel = grpc.insecure_channel(
                self._served.address.grpc_address, [("grpc.enable_http_proxy", 0)]
            )
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            def send() -> tuple[dict[str, list], int]:
                response = stub.Predict(request, timeout=30)
                outputs = {name: tf.make_ndarray(value) for name, value in response.outputs.items()}
                values = {
                    name: [one.decode() if isinstance(one, bytes) else one for one in value.tolist()]
                    for name, value in outputs.items()
                }
                return values, response.model_spec.version.value

            return send

        return connect


def test_loses_no_request_during_pushes_and_a_rollback(served: Served, staged: Callable[[str], Path]) -> None:
    crowd = Crowd(served)
    second, third = staged(SECOND), staged(THIRD)
    seen: dict[str, float] = {}
    with crowd.running():
        crowd.first(FIRST, "latest", 0.0, 20)
        started = time.monotonic()
        served.push(SECOND, second)
        seen["push"] = crowd.first(SECOND, "latest", started, 20)
        crowd.first(SECOND, "canary", started, 20)
        time.sleep(0.3)
        started = time.monotonic()
        served.repository.roll_back(None)
        seen["roll back"] = crowd.first(FIRST, "latest", started, 20)
        crowd.first(FIRST, "canary", started, 20)
        time.sleep(0.3)
        started = time.monotonic()
        served.push(THIRD, third)
        seen["next push"] = crowd.first(THIRD, "latest", started, 20)
        crowd.first(THIRD, "canary", started, 20)
        time.sleep(0.3)

    assert not crowd.failures, Counter(crowd.failures)
    assert len(crowd.predictions) > 200
    for response in crowd.predictions:
        assert response.version is None or served.numbers[response.version] == response.name
    by_client = {
        kind: Counter(a.name for a in crowd.predictions if a.client == kind) for kind in ("latest", "stable")
    }
    assert set(by_client["latest"]) == {FIRST, SECOND, THIRD}
    assert set(by_client["stable"]) == {FIRST}
    _assert_in_order([response for response in crowd.predictions if response.client == "latest"])
    loaded = _load_seconds(served.log)
    print(
        {what: f"{seconds:.2f} s" for what, seconds in seen.items()},
        loaded,
        len(crowd.predictions),
        "predictions",
    )
    assert seen["push"] < POLL_SECONDS + 2 + max(loaded)
    assert seen["next push"] < POLL_SECONDS + 2 + max(loaded)
    assert seen["roll back"] < POLL_SECONDS + 2


def _assert_in_order(predictions: list[Prediction]) -> None:
    """Asserts that no request sent after a version's first prediction gets the version before it."""
    order = [FIRST, SECOND, FIRST, THIRD]
    at, since = 0, 0.0
    for response in sorted(predictions, key=lambda one: one.sent):
        in_flight = at and response.name == order[at - 1] and response.sent < since
        if response.name == order[at] or in_flight:
            continue
        assert response.name == order[at + 1], f"{response.name} after {order[at]}"
        at, since = at + 1, response.received
    assert at == len(order) - 1


def _load_seconds(log: Path) -> list[float]:
    lines = [line for line in log.read_text().splitlines() if " loaded m version " in line]
    return [float(line.split(" in ")[1].split(" s ")[0]) for line in lines]


def _predict_over_rest(served: Served, image: bytes) -> requests.Response:
    body = {"instances": [{"b64": base64.b64encode(image).decode()}]}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{served.address.rest_url}/v1/models/m:predict", json=body, timeout=30)


def _predict_over_grpc(served: Served, image: bytes) -> predict_pb2.PredictResponse:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([image]))
    with grpc.insecure_channel(served.address.grpc_address, [("grpc.enable_http_proxy", 0)]) as channel:
        return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)


@pytest.mark.parametrize("kind", bad_images.ACCEPTED)
def test_accepts_unusual_images(served: Served, kind: str) -> None:
    image = bad_images.ACCEPTED[kind]()
    assert _predict_over_rest(served, image).status_code == 200
    assert len(_predict_over_grpc(served, image).outputs) == 2


@pytest.mark.parametrize("kind", bad_images.REJECTED)
def test_rejects_invalid_images_and_keeps_serving(served: Served, kind: str) -> None:
    image = bad_images.REJECTED[kind]()
    response = _predict_over_rest(served, image)
    assert response.status_code == 400
    assert response.json()["error"]
    with pytest.raises(grpc.RpcError) as refused:
        _predict_over_grpc(served, image)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == response.json()["error"]
    assert _predict_over_rest(served, IMAGES[0]).status_code == 200
