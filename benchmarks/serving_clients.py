"""The clients of benchmarks/serving.py: they run in one process, which is started once."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import time
from collections.abc import Awaitable, Callable, Sequence

import aiohttp
import grpc
from tensorflow_serving.apis.predict_pb2 import PredictRequest, PredictResponse

WARM_UP_SECONDS = 1.0

Ask = Callable[[bytes], Awaitable[None]]

_bodies: dict[str, list[bytes]] = {}
_addresses: dict[str, str] = {}


def prepare(pictures: Sequence[bytes], rest_url: str, grpc_address: str) -> None:
    """Makes all requests, before the first is sent.

    Args:
        pictures: Encoded pictures, one a request.
        rest_url: Where REST is.
        grpc_address: Where gRPC is.
    """
    _addresses.update({"REST": f"{rest_url}/v1/models/catsdogs:predict", "gRPC": grpc_address})
    for picture in pictures:
        instance = {"b64": base64.b64encode(picture).decode()}
        _bodies.setdefault("REST", []).append(json.dumps({"instances": [instance]}).encode())
        request = PredictRequest(model_spec={"name": "catsdogs"})
        tensor = request.inputs["image_bytes"]
        tensor.dtype = 7  # DT_STRING
        tensor.tensor_shape.dim.add(size=1)
        tensor.string_val.append(picture)
        _bodies.setdefault("gRPC", []).append(request.SerializeToString())


def load(protocol: str, clients: int, seconds: float) -> list[float]:
    """Has clients ask again and again, each as soon as it is answered.

    Args:
        protocol: "REST" or "gRPC".
        clients: How many, each with a connection of its own.
        seconds: How long, after a second of warming up.

    Returns:
        The latency of every request that was answered within the time, in seconds.
    """
    return asyncio.run({"REST": _load_rest, "gRPC": _load_grpc}[protocol](clients, seconds))


async def _load_rest(clients: int, seconds: float) -> list[float]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def ask(body: bytes) -> None:
            async with session.post(_addresses["REST"], data=body) as answer:
                answer.raise_for_status()
                (prediction,) = json.loads(await answer.read())["predictions"]
                assert 0 <= prediction["dog_probability"] <= 1

        return await _ask_all([ask] * clients, _bodies["REST"], seconds)


async def _load_grpc(clients: int, seconds: float) -> list[float]:
    def client(channel: grpc.aio.Channel) -> Ask:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict", response_deserializer=PredictResponse.FromString
        )

        async def ask(body: bytes) -> None:
            answer = await predict(body)
            assert 0 <= answer.outputs["dog_probability"].float_val[0] <= 1

        return ask

    async with contextlib.AsyncExitStack() as channels:
        own_connection = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        asks = [
            client(
                await channels.enter_async_context(
                    grpc.aio.insecure_channel(_addresses["gRPC"], options=own_connection)
                )
            )
            for _ in range(clients)
        ]
        return await _ask_all(asks, _bodies["gRPC"], seconds)


async def _ask_all(asks: Sequence[Ask], bodies: Sequence[bytes], seconds: float) -> list[float]:
    endless = itertools.cycle(bodies)
    start = time.perf_counter() + WARM_UP_SECONDS
    latencies: list[float] = []

    async def client(ask: Ask) -> None:
        while (sent := time.perf_counter()) < start + seconds:
            await ask(next(endless))
            if start <= (answered := time.perf_counter()) < start + seconds:
                latencies.append(answered - sent)

    await asyncio.gather(*map(client, asks))
    return latencies
