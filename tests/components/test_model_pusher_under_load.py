"""Pushes a version and rolls it back while many clients ask: nobody may notice."""

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

from serving.local import background
from serving.repository.publish import open_repository
from serving.repository.storage import PushConfig
from tests.components import pushing
from tests.serving import models

pytestmark = pytest.mark.slow

CLIENTS = 16
POLLED = 2.0  # seconds in which a server that looks every second lets a version go, as the documentation says
BUSY = 3.0  # more, as clients, server and other tests share two cores here: a look may be late, and an answer
PATHS = ("/v1/models/catsdogs", "/v1/models/catsdogs/labels/stable", "/v1/models/catsdogs/labels/canary")


class Load:
    """Clients that ask the served model, or a label of it, as fast as they get answers.

    Attributes:
        answers: Which model each answer was from, by path, in the order in which they came.
        last: When the last answer of each model came, by `time.monotonic`.
        complaints: Whatever was no answer.
    """

    def __init__(self, url: str) -> None:
        self.answers: dict[str, list[int]] = {path: [] for path in PATHS}
        self.last: dict[int, float] = {}
        self.complaints: list[str] = []
        self._address = urllib.parse.urlsplit(url).netloc
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(PATHS[index % len(PATHS)],)) for index in range(CLIENTS)
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
        """Waits until all answers of each path are of one model."""
        wanted = dict(zip(PATHS, (plain, stable, canary), strict=True))
        deadline = time.monotonic() + 60
        while any(self.answers[path][-CLIENTS:] != [says] * CLIENTS for path, says in wanted.items()):
            assert not self.complaints, self.complaints[:3]
            assert time.monotonic() < deadline, {path: found[-3:] for path, found in self.answers.items()}
            time.sleep(0.05)

    def _ask(self, path: str) -> None:
        body = json.dumps({"instances": [1.0]})
        connection = http.client.HTTPConnection(self._address, timeout=30)
        while not self._stopped.is_set():
            try:
                connection.request("POST", f"{path}:predict", body)
                answer = json.load(connection.getresponse())
                says = answer["predictions"][0]["version"]
                self.answers[path].append(says)
                self.last[says] = time.monotonic()
            except (OSError, http.client.HTTPException, KeyError, ValueError) as error:
                self.complaints.append(f"{path}: {error!r}")
                connection.close()


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Three models, each of which answers with its number."""
    return {
        says: pushing.artifact(
            tmp_path_factory.mktemp(f"model-{says}"), functools.partial(models.tells_version, says=says)
        )
        for says in (1, 2, 3)
    }


@pytest.fixture(scope="module")
def load(
    artifacts: dict[int, Path], served: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Load]:
    pushing.in_full(pushing.push, str(artifacts[1]), str(served))
    log = tmp_path_factory.mktemp("log") / "log"
    with background.running(served, log=log) as address:
        background.wait_until_ready(address.process, address.rest_url, "catsdogs", 60, log)
        with Load(address.rest_url) as load:
            yield load


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("served") / "catsdogs"


def test_pushes_and_rollbacks_cost_no_request_and_no_label(
    artifacts: dict[int, Path], served: Path, load: Load
) -> None:
    repository = open_repository(str(served), PushConfig("catsdogs", "/models/catsdogs", 5))
    load.wait_for(plain=1, stable=1, canary=1)

    pushing.in_full(pushing.push, str(artifacts[2]), str(served))
    load.wait_for(plain=2, stable=1, canary=2)
    pushing.in_full(pushing.push, str(artifacts[3]), str(served))
    load.wait_for(plain=3, stable=2, canary=3)

    begun = time.monotonic()  # just before the rename
    newest, _ = repository.roll_back(None)
    load.wait_for(plain=2, stable=2, canary=2)
    assert load.last[3] - begun < POLLED + BUSY

    repository.roll_back(newest)
    load.wait_for(plain=3, stable=2, canary=3)
    assert load.complaints == []
    assert {answer for answers in load.answers.values() for answer in answers} == {1, 2, 3}
