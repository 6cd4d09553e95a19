"""Pushes and rolls back versions while many clients send requests; no request may fail."""

from __future__ import annotations

import functools
import http.client
import json
import threading
import time
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.local import server_process
from serving.repository.model_repository import open_repository
from serving.repository.storage import PushConfig
from tests.components import pushing
from tests.serving import saved_models

pytestmark = pytest.mark.slow

CLIENTS = 16
UNLOAD_SECONDS = 2.0  # documented time in which a server that polls every second unloads a version
TOLERANCE = 3.0  # seconds; clients, server and other tests share two cores
PATHS = ("/v1/models/catsdogs", "/v1/models/catsdogs/labels/stable", "/v1/models/catsdogs/labels/canary")


class Load:
    """Clients that send requests to the served model or to a label as fast as they get responses.

    Attributes:
        responses: For each path, the model of each response, in order.
        last: Time of the last response of each model, by `time.monotonic`.
        failures: Descriptions of failed requests.
    """

    def __init__(self, url: str) -> None:
        self.responses: dict[str, list[int]] = {path: [] for path in PATHS}
        self.last: dict[int, float] = {}
        self.failures: list[str] = []
        self._address = urllib.parse.urlsplit(url).netloc
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._send_requests, args=(PATHS[index % len(PATHS)],))
            for index in range(CLIENTS)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def wait_for(self, plain: int, stable: int, canary: int) -> None:
        """Waits until the latest responses of each path come from the given model."""
        wanted = dict(zip(PATHS, (plain, stable, canary), strict=True))
        deadline = time.monotonic() + 60
        while any(self.responses[path][-CLIENTS:] != [model] * CLIENTS for path, model in wanted.items()):
            assert not self.failures, self.failures[:3]
            assert time.monotonic() < deadline, {
                path: responses[-3:] for path, responses in self.responses.items()
            }
            time.sleep(0.05)

    def _send_requests(self, path: str) -> None:
        body = json.dumps({"instances": [1.0]})
        connection = http.client.HTTPConnection(self._address, timeout=30)
        while not self._stopped.is_set():
            try:
                connection.request("POST", f"{path}:predict", body)
                response = json.load(connection.getresponse())
                model = response["predictions"][0]["version"]
                self.responses[path].append(model)
                self.last[model] = time.monotonic()
            except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
                self.failures.append(f"{path}: {error!r}")
                connection.close()


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Three models, each of which predicts its own number."""
    return {
        number: pushing.model_artifact(
            tmp_path_factory.mktemp(f"model-{number}"),
            functools.partial(saved_models.versioned, output=number),
        )
        for number in (1, 2, 3)
    }


@pytest.fixture(scope="module")
def load(
    artifacts: dict[int, Path], served: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Load]:
    pushing.run_to_end(pushing.push, str(artifacts[1]), str(served))
    log = tmp_path_factory.mktemp("log") / "log"
    with server_process.run_local_server(served, log=log) as address:
        server_process.wait_until_ready(address.process, address.rest_url, "catsdogs", 60, log)
        with Load(address.rest_url) as load:
            yield load


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "catsdogs"


def test_pushes_and_rollbacks_fail_no_request_and_lose_no_label(
    artifacts: dict[int, Path], served: Path, load: Load
) -> None:
    repository = open_repository(str(served), PushConfig("catsdogs", "/models/catsdogs", 5))
    load.wait_for(plain=1, stable=1, canary=1)

    pushing.run_to_end(pushing.push, str(artifacts[2]), str(served))
    load.wait_for(plain=2, stable=1, canary=2)
    pushing.run_to_end(pushing.push, str(artifacts[3]), str(served))
    load.wait_for(plain=3, stable=2, canary=3)

    start = time.monotonic()
    newest, _ = repository.roll_back(None)
    load.wait_for(plain=2, stable=2, canary=2)
    assert load.last[3] - start < UNLOAD_SECONDS + TOLERANCE

    repository.roll_back(newest)
    load.wait_for(plain=3, stable=2, canary=3)
    assert load.failures == []
    assert {model for models in load.responses.values() for model in models} == {1, 2, 3}
