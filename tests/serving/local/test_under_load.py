"""The running server: sixteen clients ask without a pause while versions come and go; others send rubbish."""

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
from serving.local import background
from serving.repository.manifest import Manifest, checksum_files
from serving.repository.model_repository import ModelRepository, open_repository
from serving.repository.storage import PushConfig
from tests.serving import bad_pictures, models

pytestmark = pytest.mark.slow

CLIENTS = 16
PICTURES = [
    bad_pictures.encode(kind, size=(40 + step, 30)) for step, kind in enumerate(("JPEG", "PNG", "BMP"))
]
FIRST, SECOND, THIRD = "first", "second", "third"
POLL_SECONDS = 1.0


@dataclass
class Served:
    """A folder of versions, and the server that watches it.

    Attributes:
        numbers: The versions' names by their numbers: those of their classes, by which answers tell them.
    """

    repository: ModelRepository
    address: background.Address
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
        folder = models.classifier(root / name, 1, class_names=names, seed=seed)
        warmup.write_requests(folder / warmup.REQUESTS_FILE, "m", PICTURES[:1])
        return folder

    return make


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, staged: Callable[[str], Path]) -> Iterator[Served]:
    folder, log = tmp_path_factory.mktemp("served") / "m", tmp_path_factory.mktemp("log") / "log"
    repository = open_repository(str(folder), PushConfig("m", "/models/m", keep_versions=5))
    first = Served(repository, None, log)  # type: ignore[arg-type]  # nothing is asked before the server runs
    first.push(FIRST, staged(FIRST))
    with background.running(folder, "m", log=log) as address:
        yield Served(repository, address, log, first.numbers)


@dataclass
class Answer:
    """When it was asked for and given, in seconds; the version as its labels and as gRPC tell it."""

    client: str
    asked: float
    answered: float
    name: str
    version: int | None


class Crowd:
    """Clients that ask until they are stopped."""

    def __init__(self, served: Served) -> None:
        self._served = served
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        asks = [self._rest(), self._grpc(), self._rest("/labels/stable"), self._grpc("canary")]
        kinds = ["latest", "latest", "stable", "canary"]
        self._threads = [
            threading.Thread(target=self._client, args=(kinds[number % 4], asks[number % 4]), daemon=True)
            for number in range(CLIENTS)
        ]

    @contextmanager
    def asking(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)

    def first(self, name: str, client: str, since: float, seconds: float) -> float:
        """Waits for an answer of a version; returns how long after `since` it came."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with self._lock:
                for answer in self.answers:
                    if (answer.name, answer.client) == (name, client) and answer.asked > since:
                        return answer.answered - since
            time.sleep(0.05)
        raise AssertionError(f"no answer of {name} for {client} in {seconds} s")

    def _client(self, kind: str, ask: Callable[[], Callable[[], tuple[dict[str, list], int | None]]]) -> None:
        one = ask()
        while not self._stop.is_set():
            asked = time.monotonic()
            try:
                outputs, version = one()
                name = self._told(outputs)
            except Exception as error:
                with self._lock:
                    self.failures.append(f"{kind}: {type(error).__name__}: {error}")
                continue
            with self._lock:
                self.answers.append(Answer(kind, asked, time.monotonic(), name, version))

    @staticmethod
    def _told(outputs: dict[str, list]) -> str:
        """Returns which version an answer is of, in all its parts."""
        assert len(outputs) == 2
        [probability] = outputs.keys() - {"label"}
        name = probability.removeprefix("dog of ").removesuffix("_probability")
        for label, value in zip(outputs["label"], outputs[probability], strict=True):
            assert label == f"{'dog' if value >= 0.5 else 'cat'} of {name}"
        assert len(outputs["label"]) == len(PICTURES)
        return name

    def _rest(self, where: str = "") -> Callable[[], Callable[[], tuple[dict[str, list], None]]]:
        body = {"inputs": [{"b64": base64.b64encode(picture).decode()} for picture in PICTURES]}
        text = json.dumps(body)

        def client() -> Callable[[], tuple[dict[str, list], None]]:
            session = requests.Session()
            session.trust_env = False

            def ask() -> tuple[dict[str, list], None]:
                url = f"{self._served.address.rest_url}/v1/models/m{where}:predict"
                answer = session.post(url, data=text, timeout=30)
                assert answer.status_code == 200, answer.text
                return answer.json()["outputs"], None

            return ask

        return client

    def _grpc(self, label: str = "") -> Callable[[], Callable[[], tuple[dict[str, list], int]]]:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "m"
        if label:
            request.model_spec.version_label = label
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(PICTURES))

        def client() -> Callable[[], tuple[dict[str, list], int]]:
            channel = grpc.insecure_channel(
                self._served.address.grpc_address, [("grpc.enable_http_proxy", 0)]
            )
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)

            def ask() -> tuple[dict[str, list], int]:
                answer = stub.Predict(request, timeout=30)
                outputs = {name: tf.make_ndarray(value) for name, value in answer.outputs.items()}
                told = {
                    name: [one.decode() if isinstance(one, bytes) else one for one in value.tolist()]
                    for name, value in outputs.items()
                }
                return told, answer.model_spec.version.value

            return ask

        return client


def test_no_request_is_lost_while_versions_come_and_go(served: Served, staged: Callable[[str], Path]) -> None:
    crowd = Crowd(served)
    second, third = staged(SECOND), staged(THIRD)
    seen: dict[str, float] = {}
    with crowd.asking():
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
    assert len(crowd.answers) > 200
    for answer in crowd.answers:
        assert answer.version is None or served.numbers[answer.version] == answer.name
    by_client = {
        kind: Counter(a.name for a in crowd.answers if a.client == kind) for kind in ("latest", "stable")
    }
    assert set(by_client["latest"]) == {FIRST, SECOND, THIRD}
    assert set(by_client["stable"]) == {FIRST}
    _assert_in_order([answer for answer in crowd.answers if answer.client == "latest"])
    loaded = _load_seconds(served.log)
    print({what: f"{seconds:.2f} s" for what, seconds in seen.items()}, loaded, len(crowd.answers), "answers")
    assert seen["push"] < POLL_SECONDS + 2 + max(loaded)
    assert seen["next push"] < POLL_SECONDS + 2 + max(loaded)
    assert seen["roll back"] < POLL_SECONDS + 2


def _assert_in_order(answers: list[Answer]) -> None:
    """Asserts that versions follow each other: who asks after an answer of the next one gets no other."""
    order = [FIRST, SECOND, FIRST, THIRD]
    at, since = 0, 0.0
    for answer in sorted(answers, key=lambda one: one.asked):
        under_way = at and answer.name == order[at - 1] and answer.asked < since
        if answer.name == order[at] or under_way:
            continue
        assert answer.name == order[at + 1], f"{answer.name} after {order[at]}"
        at, since = at + 1, answer.answered
    assert at == len(order) - 1


def _load_seconds(log: Path) -> list[float]:
    lines = [line for line in log.read_text().splitlines() if " loaded m version " in line]
    return [float(line.split(" in ")[1].split(" s ")[0]) for line in lines]


def _ask(served: Served, picture: bytes) -> requests.Response:
    body = {"instances": [{"b64": base64.b64encode(picture).decode()}]}
    with requests.Session() as session:
        session.trust_env = False
        return session.post(f"{served.address.rest_url}/v1/models/m:predict", json=body, timeout=30)


def _ask_over_grpc(served: Served, picture: bytes) -> predict_pb2.PredictResponse:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "m"
    request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto([picture]))
    with grpc.insecure_channel(served.address.grpc_address, [("grpc.enable_http_proxy", 0)]) as channel:
        return prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30)


@pytest.mark.parametrize("kind", bad_pictures.ANSWERED)
def test_unusual_pictures_are_answered(served: Served, kind: str) -> None:
    picture = bad_pictures.ANSWERED[kind]()
    assert _ask(served, picture).status_code == 200
    assert len(_ask_over_grpc(served, picture).outputs) == 2


@pytest.mark.parametrize("kind", bad_pictures.REFUSED)
def test_bad_pictures_are_refused_and_the_server_goes_on(served: Served, kind: str) -> None:
    picture = bad_pictures.REFUSED[kind]()
    answer = _ask(served, picture)
    assert answer.status_code == 400
    assert answer.json()["error"]
    with pytest.raises(grpc.RpcError) as refused:
        _ask_over_grpc(served, picture)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == answer.json()["error"]
    assert _ask(served, PICTURES[0]).status_code == 200
