"""The client: batches of images in, predictions out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from serving.client.protocol import ModelSpec, Prediction, RequestRejected, VersionStatus, parse_url
from serving.client.retries import RetryPolicy

if TYPE_CHECKING:
    from serving.client.grpc import GrpcTransport
    from serving.client.rest import RestTransport

MAX_REQUEST_BYTES = 32 * 2**20  # of image data; base64 adds a third, which servers still accept
# Codes that a batch gets because of its size or because of one image in it.
_SPLIT_ON = {"INVALID_ARGUMENT", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"}


class Client:
    """Requests predictions from one model. Thread-safe.

    Args:
        url: `http://HOST:PORT` or `https://HOST:PORT` for REST, with a path if a proxy needs one, or
            `grpc://HOST:PORT`, which is unencrypted and needs seconds to import TensorFlow.
        model: Name of the model on the server.
        version: Version of the model. Defaults to the newest, or the one with the label.
        label: Label of the version, for example "stable".
        timeout: Seconds for each request, including retries.
        retries: How often a request is retried when the server is overloaded, restarting or unreachable.
            The pauses grow exponentially.
        batch: Maximum number of images per request.
        include_version: Adds the version to each prediction over REST too, which costs a small request per
            batch. Over gRPC every prediction has it.

    Raises:
        UsageError: The URL, model name, version or label is invalid.
    """

    def __init__(
        self,
        url: str = "http://localhost:8501",
        model: str = "catsdogs",
        *,
        version: int | None = None,
        label: str | None = None,
        timeout: float = 60.0,
        retries: int = 4,
        batch: int = 16,
        include_version: bool = False,
    ) -> None:
        is_grpc, address = parse_url(url)
        spec, policy = ModelSpec(model, version, label), RetryPolicy(retries, timeout)
        self._batch = batch
        self._transport: GrpcTransport | RestTransport
        if is_grpc:
            from serving.client.grpc import GrpcTransport  # imports TensorFlow

            self._transport = GrpcTransport(address, spec, policy)
        else:
            from serving.client.rest import RestTransport

            self._transport = RestTransport(address, spec, policy, include_version)

    def predict(self, images: Sequence[bytes]) -> list[Prediction]:
        """Returns the predictions for encoded images (JPEG, PNG), in order.

        Raises:
            RequestRejected: The server rejects an image or the request.
            ServingError: The server cannot be reached or sends an unexpected response.
        """
        predictions = []
        for result in self.predict_each(images):
            if isinstance(result, RequestRejected):
                raise result
            predictions.append(result)
        return predictions

    def predict_each(self, images: Iterable[bytes]) -> Iterator[Prediction | RequestRejected]:
        """Yields a prediction or an error for each encoded image, in order.

        Reads the images batch by batch, so that they need not fit into memory. If a server rejects a batch
        because it cannot decode an image, the client splits the batch in halves until only that image fails.

        Raises:
            RequestRejected: The server rejects the request for a reason other than its images.
            ServingError: The server cannot be reached or sends an unexpected response.
        """
        for batch in self._batches(images):
            yield from self._predict_batch(batch)

    def metadata(self) -> dict[str, Any]:
        """Returns the model's signatures and version, as TensorFlow Serving's JSON.

        `["model_spec"]["version"]` is a string; `["metadata"]["signature_def"]["signature_def"]` holds the
        signatures by name.

        Raises:
            ServingError: The server cannot be reached, or has no such model, version or label.
        """
        return self._transport.metadata()

    def status(self) -> list[VersionStatus]:
        """Returns the status of each version of the model, in the server's order.

        Raises:
            ServingError: The server cannot be reached, or has no such model or version.
        """
        return self._transport.status()

    def close(self) -> None:
        """Closes the connections."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batches(self, images: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
        batch: list[bytes] = []
        size = 0
        for image in images:
            if batch and (len(batch) == self._batch or size + len(image) > MAX_REQUEST_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(image)
            size += len(image)
        if batch:
            yield batch

    def _predict_batch(self, images: Sequence[bytes]) -> list[Prediction | RequestRejected]:
        try:
            return list(self._transport.predict(images))
        except RequestRejected as error:
            if error.code not in _SPLIT_ON:
                raise
            if len(images) == 1:
                return [error]
        half = len(images) // 2
        return self._predict_batch(images[:half]) + self._predict_batch(images[half:])
