"""The client with the local server, whose own tests check TensorFlow Serving's protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from serving.client import Client, RequestRejected, Unreachable
from serving.local import server_process

pytestmark = pytest.mark.slow  # imports TensorFlow, here and in the server

LABELS = """
model_config_list { config {
  name: "catsdogs" base_path: "/elsewhere" model_platform: "tensorflow"
  model_version_policy { specific { versions: 5 versions: 7 } }
  version_labels { key: "stable" value: 5 }
} }
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, server_process.RunningServer]]:
    from tests.serving import saved_models

    folder = tmp_path_factory.mktemp("served") / "catsdogs"
    for version in (5, 7):
        saved_models.classifier(folder, version=version, class_names=("ant", "bee"), seed=version)
    (folder / "models.config").write_text(LABELS)
    with server_process.run_local_server(folder) as address:
        yield folder, address


@pytest.fixture(params=["REST", "gRPC"])
def url(
    request: pytest.FixtureRequest,
    served: tuple[Path, server_process.RunningServer],
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # must not be used for this machine
    monkeypatch.delenv("no_proxy", raising=False)
    address = served[1]
    return address.rest_url if request.param == "REST" else f"grpc://{address.grpc_address}"


def test_predictions_match_the_model(
    url: str, served: tuple[Path, server_process.RunningServer], make_image: Callable[..., bytes]
) -> None:
    import tensorflow as tf

    images = [make_image(index, kind) for index in range(9) for kind in ("JPEG", "PNG")]
    expected = tf.saved_model.load(str(served[0] / "7")).signatures["serving_default"](
        image_bytes=tf.constant(images)
    )
    with Client(url, include_version=True) as client:
        predictions = client.predict(images)
    assert [prediction.probability for prediction in predictions] == pytest.approx(
        expected["bee_probability"].numpy(), abs=1e-6
    )
    assert [prediction.label for prediction in predictions] == [
        label.decode() for label in expected["label"].numpy()
    ]
    assert {(prediction.probability_of, prediction.version) for prediction in predictions} == {("bee", 7)}


@pytest.mark.parametrize("options", [{"version": 5}, {"label": "stable"}])
def test_version_and_label_select_the_model(
    url: str, options: dict[str, Any], make_image: Callable[..., bytes]
) -> None:
    with Client(url, include_version=True, **options) as client, Client(url) as newest:
        (prediction,) = client.predict([make_image(0)])
        assert prediction.version == 5
        assert prediction.probability != newest.predict([make_image(0)])[0].probability


def test_a_bad_image_does_not_affect_the_others(url: str, make_image: Callable[..., bytes]) -> None:
    whole = make_image(3)
    images = [make_image(0), b"this is not an image", make_image(1), whole[: len(whole) // 2], make_image(2)]
    with Client(url) as client:
        results = list(client.predict_each(images))
        alone = client.predict(images[::2])
    assert [index for index, result in enumerate(results) if isinstance(result, RequestRejected)] == [1, 3]
    assert results[::2] == alone


@pytest.mark.parametrize(
    ("model", "options", "name"),
    [("other", {}, "other"), ("catsdogs", {"version": 6}, "6"), ("catsdogs", {"label": "blue"}, "blue")],
)
def test_a_missing_model_version_or_label_is_rejected_by_name(
    url: str, model: str, options: dict[str, Any], name: str, make_image: Callable[..., bytes]
) -> None:
    with Client(url, model, **options) as client:
        with pytest.raises(RequestRejected, match=name):
            client.predict([make_image(0)])
        with pytest.raises(RequestRejected, match=name):
            client.metadata()


def test_status_and_metadata(url: str) -> None:
    with Client(url) as client, Client(url, version=5) as older:
        assert {status.version: status.state for status in client.status()} == {
            5: "AVAILABLE",
            7: "AVAILABLE",
        }
        assert [status.version for status in older.status()] == [5]
        metadata = client.metadata()
    assert (metadata["model_spec"]["name"], metadata["model_spec"]["version"]) == ("catsdogs", "7")
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert set(signatures["serving_default"]["inputs"]) == {"image_bytes"}


@pytest.fixture
def grpc_server() -> Iterator[Callable[..., str]]:
    """`grpc_server(code, text)`: a server that fails the first two requests and accepts the third."""
    import grpc
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    servers = []

    def start(code: grpc.StatusCode, text: str) -> str:
        class Service(model_service_pb2_grpc.ModelServiceServicer):
            requests = 0

            def GetModelStatus(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802
                self.requests += 1
                if self.requests < 3:
                    context.abort(code, text)
                return get_model_status_pb2.GetModelStatusResponse()

        server = grpc.server(futures.ThreadPoolExecutor(1))
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(Service(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return f"grpc://127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait()


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED"])
def test_temporary_grpc_failures_are_retried(grpc_server: Callable[..., str], code: str) -> None:
    import grpc

    with Client(grpc_server(grpc.StatusCode[code], "wait")) as client:
        assert client.status() == []
    with (
        Client(grpc_server(grpc.StatusCode[code], "wait"), retries=1) as client,
        pytest.raises(Unreachable, match=f"{code}.*wait"),
    ):
        client.status()
