"""The client and the local server, which is held to TensorFlow Serving's protocol by tests of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest

from serving.client import Client, RequestRejected, Unreachable
from serving.local import background

pytestmark = pytest.mark.slow  # imports TensorFlow, here and in the server

LABELS = """
model_config_list { config {
  name: "catsdogs" base_path: "/elsewhere" model_platform: "tensorflow"
  model_version_policy { specific { versions: 5 versions: 7 } }
  version_labels { key: "stable" value: 5 }
} }
"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, background.Address]]:
    from tests.serving import models

    folder = tmp_path_factory.mktemp("served") / "catsdogs"
    for version in (5, 7):
        models.classifier(folder, version=version, class_names=("ant", "bee"), seed=version)
    (folder / "models.config").write_text(LABELS)
    with background.running(folder) as address:
        yield folder, address


@pytest.fixture(params=["REST", "gRPC"])
def url(
    request: pytest.FixtureRequest, served: tuple[Path, background.Address], monkeypatch: pytest.MonkeyPatch
) -> str:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # none leads back to this machine
    monkeypatch.delenv("no_proxy", raising=False)
    address = served[1]
    return address.rest_url if request.param == "REST" else f"grpc://{address.grpc_address}"


def test_answers_are_the_model_s(
    url: str, served: tuple[Path, background.Address], picture: Callable[..., bytes]
) -> None:
    import tensorflow as tf

    pictures = [picture(index, kind) for index in range(9) for kind in ("JPEG", "PNG")]
    truth = tf.saved_model.load(str(served[0] / "7")).signatures["serving_default"](
        image_bytes=tf.constant(pictures)
    )
    with Client(url, tell_version=True) as client:
        found = client.predict(pictures)
    assert [one.probability for one in found] == pytest.approx(truth["bee_probability"].numpy(), abs=1e-6)
    assert [one.label for one in found] == [label.decode() for label in truth["label"].numpy()]
    assert {(one.probability_of, one.version) for one in found} == {("bee", 7)}


@pytest.mark.parametrize("chosen", [{"version": 5}, {"label": "stable"}])
def test_another_version_is_asked(url: str, chosen: dict[str, Any], picture: Callable[..., bytes]) -> None:
    with Client(url, tell_version=True, **chosen) as client, Client(url) as newest:
        (found,) = client.predict([picture(0)])
        assert found.version == 5
        assert found.probability != newest.predict([picture(0)])[0].probability


def test_a_bad_picture_costs_no_other_its_answer(url: str, picture: Callable[..., bytes]) -> None:
    whole = picture(3)
    sent = [picture(0), b"this is no picture", picture(1), whole[: len(whole) // 2], picture(2)]
    with Client(url) as client:
        found = list(client.answers(sent))
        alone = client.predict(sent[::2])
    assert [index for index, one in enumerate(found) if isinstance(one, RequestRejected)] == [1, 3]
    assert found[::2] == alone


@pytest.mark.parametrize(
    ("model", "chosen", "name"),
    [("other", {}, "other"), ("catsdogs", {"version": 6}, "6"), ("catsdogs", {"label": "blue"}, "blue")],
)
def test_what_is_not_served_is_refused_by_name(
    url: str, model: str, chosen: dict[str, Any], name: str, picture: Callable[..., bytes]
) -> None:
    with Client(url, model, **chosen) as client:
        with pytest.raises(RequestRejected, match=name):
            client.predict([picture(0)])
        with pytest.raises(RequestRejected, match=name):
            client.metadata()


def test_status_and_metadata(url: str) -> None:
    with Client(url) as client, Client(url, version=5) as older:
        assert {one.version: one.state for one in client.status()} == {5: "AVAILABLE", 7: "AVAILABLE"}
        assert [one.version for one in older.status()] == [5]
        metadata = client.metadata()
    assert (metadata["model_spec"]["name"], metadata["model_spec"]["version"]) == ("catsdogs", "7")
    signatures = metadata["metadata"]["signature_def"]["signature_def"]
    assert set(signatures["serving_default"]["inputs"]) == {"image_bytes"}


@pytest.fixture
def grpc_server() -> Iterator[Callable[..., str]]:
    """`grpc_server(code, text)`: a server that answers its third request, and the first two with an error."""
    import grpc
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    servers = []

    def start(code: grpc.StatusCode, text: str) -> str:
        class Service(model_service_pb2_grpc.ModelServiceServicer):
            asked = 0

            def GetModelStatus(self, request: object, context: grpc.ServicerContext) -> object:  # noqa: N802
                self.asked += 1
                if self.asked < 3:
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


@pytest.mark.parametrize("code", ["UNAVAILABLE", "DEADLINE_EXCEEDED"])
def test_over_grpc_too_what_passes_is_tried_again(grpc_server: Callable[..., str], code: str) -> None:
    import grpc

    with Client(grpc_server(grpc.StatusCode[code], "wait")) as client:
        assert client.status() == []
    with (
        Client(grpc_server(grpc.StatusCode[code], "wait"), retries=1) as client,
        pytest.raises(Unreachable, match=f"{code}.*wait"),
    ):
        client.status()
