"""Sends pictures to a server, one after the other, and takes the time."""

from __future__ import annotations

import time
from collections.abc import Sequence

from components.serving_check.verdict import Answer, Exchange
from serving.client import Client, Refused
from serving.errors import ServingError

_UNCOUNTED = 2  # requests before the clock starts: the first ones open connections
_TIMEOUT = 60.0  # seconds


def ask(protocol: str, url: str, model_name: str, pictures: Sequence[bytes]) -> Exchange:
    """Asks a server about pictures, each in a request of its own.

    Args:
        protocol: What to call it: `REST` or `gRPC`.
        url: Where the server is.
        model_name: What it calls the model.
        pictures: Stored JPEGs or PNGs.
    """
    with Client(url, model_name, timeout=_TIMEOUT, retries=0) as client:
        for picture in pictures[:_UNCOUNTED]:
            _answer(client, picture)
        answers, milliseconds = [], []
        for picture in pictures:
            started = time.perf_counter()
            answers.append(_answer(client, picture))
            milliseconds.append((time.perf_counter() - started) * 1000)
        return Exchange(protocol, answers, milliseconds, _signatures(client))


def _answer(client: Client, picture: bytes) -> Answer | str:
    try:
        [said] = client.predict([picture])
    except Refused as refused:
        return refused.text
    except ServingError as error:
        return str(error)
    return Answer(said.probability, said.label)


def _signatures(client: Client) -> frozenset[str]:
    try:
        named = client.metadata()["metadata"]["signature_def"]["signature_def"]
    except ServingError:
        return frozenset()
    return frozenset(name for name in named if not name.startswith("__"))  # those are TensorFlow's own
