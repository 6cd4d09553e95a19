from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.console import PrintableConsole
from pipelines.kubeflow import submit as submitting
from pipelines.kubeflow import watch
from pipelines.kubeflow.connection import COOKIES, ENDPOINT, TOKEN, TOKEN_PATH, Login
from pipelines.kubeflow.submit import SubmitOptions
from tests.pipelines.kubeflow import small_package
from tests.pipelines.kubeflow.kfp_server import KfpServer

Submit = Callable[..., tuple[int, str]]


@pytest.fixture(autouse=True)
def _no_login_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in (
        ENDPOINT,
        TOKEN,
        TOKEN_PATH,
        COOKIES,
        submitting.DEFAULT_EXPERIMENT,
        "KUBERNETES_SERVICE_HOST",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("kfp.client.Client._LOCAL_KFP_CONTEXT", str(tmp_path / "home" / "context.json"))
    monkeypatch.setattr(watch, "_INTERVAL", 0.01)


@pytest.fixture
def server() -> Iterator[KfpServer]:
    """A Kubeflow Pipelines server that is running."""
    server = KfpServer()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A compiled pipeline."""
    return small_package.write(tmp_path / "pipeline.yaml")


@pytest.fixture
def submit(server: KfpServer, package: Path) -> Submit:
    """`submit(**options)`: the exit status and what was printed; the login's fields go among the others."""

    def call(**options: Any) -> tuple[int, str]:
        login = {name: options.pop(name) for name in list(options) if name in Login.__dataclass_fields__}
        output = io.StringIO()
        given = SubmitOptions(
            file=options.pop("file", package),
            login=Login(**{"endpoint": server.endpoint, **login}),
            **options,
        )
        return submitting.submit(given, PrintableConsole(file=output, width=200)), output.getvalue()

    return call
