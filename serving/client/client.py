"""Asks TensorFlow Serving, or what speaks its protocol, about pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from serving.client.transport import ModelSpec, Prediction, RequestRejected, Retries, VersionStatus, parse_url

if TYPE_CHECKING:
    from serving.client.grpc_transport import GrpcTransport
    from serving.client.rest import RestTransport

MAX_REQUEST_BYTES = 32 * 2**20  # of pictures; as base64 a third more, which servers still take
# What a batch may meet because of one picture in it, or of its size.
_OF_THE_BATCH = {"INVALID_ARGUMENT", "OUT_OF_RANGE", "RESOURCE_EXHAUSTED"}


class Client:
    """Asks one model about pictures. Threads may share it.

    Args:
        url: `http://HOST:PORT` or `https://HOST:PORT` for REST, with a path where a proxy wants one, or
            `grpc://HOST:PORT`, which is not encrypted and takes seconds to import TensorFlow.
        model: The model's name on the server.
        version: Ask this version; None means the newest, or the label's.
        label: Ask the version that carries this label, for example "stable".
        timeout: Seconds for each request, all its tries included.
        retries: How often a request is tried again that the server cannot answer now (overloaded,
            restarting, not there), with growing pauses.
        batch: How many pictures a request carries at most.
        tell_version: Make each prediction tell which version gave it, over REST too, where that costs a
            small request for each batch.

    Raises:
        UsageError: The address, or what is to be asked, cannot be right.
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
        tell_version: bool = False,
    ) -> None:
        over_grpc, address = parse_url(url)
        asked, patience = ModelSpec(model, version, label), Retries(retries, timeout)
        self._batch = batch
        self._transport: GrpcTransport | RestTransport
        if over_grpc:
            from serving.client.grpc_transport import GrpcTransport  # which imports TensorFlow

            self._transport = GrpcTransport(address, asked, patience)
        else:
            from serving.client.rest import RestTransport

            self._transport = RestTransport(address, asked, patience, tell_version)

    def predict(self, pictures: Sequence[bytes]) -> list[Prediction]:
        """Returns what the model says of stored pictures (JPEG, PNG), in their order.

        Raises:
            ServingError: The server cannot be reached, or refuses one of them.
        """
        found = []
        for answer in self.answers(pictures):
            if isinstance(answer, RequestRejected):
                raise answer
            found.append(answer)
        return found

    def answers(self, pictures: Iterable[bytes]) -> Iterator[Prediction | RequestRejected]:
        """Yields what the model says of each picture, or why it says nothing, in their order.

        The pictures are taken a batch at a time, so there may be more of them than memory holds. A server
        refuses a whole batch for one bad picture in it. Such a batch is asked again in halves, so that only
        the bad picture goes without an answer.

        Raises:
            ServingError: The server cannot be reached, or refuses for a reason that is no picture's.
        """
        for batch in self._batches(pictures):
            yield from self._halving(batch)

    def metadata(self) -> dict[str, Any]:
        """Returns the model's signatures and the version that would answer, as in TensorFlow Serving's JSON.

        `["model_spec"]["version"]` is a string, `["metadata"]["signature_def"]["signature_def"]` the
        signatures by name.

        Raises:
            ServingError: The server cannot be reached, or has no such model, version or label.
        """
        return self._transport.metadata()

    def status(self) -> list[VersionStatus]:
        """Returns the versions of the model that the server knows, in its order.

        Raises:
            ServingError: The server cannot be reached, or knows no such model or version.
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

    def _batches(self, pictures: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
        batch: list[bytes] = []
        size = 0
        for picture in pictures:
            if batch and (len(batch) == self._batch or size + len(picture) > MAX_REQUEST_BYTES):
                yield batch
                batch, size = [], 0
            batch.append(picture)
            size += len(picture)
        if batch:
            yield batch

    def _halving(self, pictures: Sequence[bytes]) -> list[Prediction | RequestRejected]:
        try:
            return list(self._transport.predict(pictures))
        except RequestRejected as refusal:
            if refusal.code not in _OF_THE_BATCH:
                raise
            if len(pictures) == 1:
                return [refusal]
        half = len(pictures) // 2
        return self._halving(pictures[:half]) + self._halving(pictures[half:])
