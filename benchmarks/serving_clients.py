"""The clients of benchmarks/serving.py, which share one process."""

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

SendRequest = Callable[[bytes], Awaitable[None]]

_bodies: dict[str, list[bytes]] = {}
_addresses: dict[str, str] = {}


def prepare(images: Sequence[bytes], rest_url: str, grpc_address: str) -> None:
    """Builds all requests, so that the measurement does not include it.

    Args:
        images: Encoded images, one per request.
        rest_url: For example `http://127.0.0.1:8501`.
        grpc_address: For example `127.0.0.1:8500`.
    """
    _addresses.update({"REST": f"{rest_url}/v1/models/catsdogs:predict", "gRPC": grpc_address})
    for image in images:
        instance = {"b64": base64.b64encode(image).decode()}
        _bodies.setdefault("REST", []).append(json.dumps({"instances": [instance]}).encode())
        request = PredictRequest(model_spec={"name": "catsdogs"})
        tensor = request.inputs["image_bytes"]
        tensor.dtype = 7  # DT_STRING
        tensor.tensor_shape.dim.add(size=1)
        tensor.string_val.append(image)
        _bodies.setdefault("gRPC", []).append(request.SerializeToString())


def load(protocol: str, clients: int, seconds: float) -> list[float]:
    """Sends requests from concurrent clients; each sends its next request after a response.

    Args:
        protocol: "REST" or "gRPC".
        clients: Number of clients, each with its own connection.
        seconds: Duration, after a warm-up of one second.

    Returns:
        Latency of every request that completed in that time, in seconds.
    """
    return asyncio.run({"REST": _load_rest, "gRPC": _load_grpc}[protocol](clients, seconds))


async def _load_rest(clients: int, seconds: float) -> list[float]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def send(body: bytes) -> None:
            async with session.post(_addresses["REST"], data=body) as response:
                response.raise_for_status()
                (prediction,) = json.loads(await response.read())["predictions"]
                assert 0 <= prediction["dog_probability"] <= 1

        return await _run_clients([send] * clients, _bodies["REST"], seconds)


async def _load_grpc(clients: int, seconds: float) -> list[float]:
    def client(channel: grpc.aio.Channel) -> SendRequest:
        predict = channel.unary_unary(
            "/tensorflow.serving.PredictionService/Predict", response_deserializer=PredictResponse.FromString
        )

        async def send(body: bytes) -> None:
            response = await predict(body)
            assert 0 <= response.outputs["dog_probability"].float_val[0] <= 1

        return send

    async with contextlib.AsyncExitStack() as channels:
        own_connection = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        senders = [
            client(
                await channels.enter_async_context(
                    grpc.aio.insecure_channel(_addresses["gRPC"], options=own_connection)
                )
            )
            for _ in range(clients)
        ]
        return await _run_clients(senders, _bodies["gRPC"], seconds)


async def _run_clients(
    senders: Sequence[SendRequest], bodies: Sequence[bytes], seconds: float
) -> list[float]:
    endless = itertools.cycle(bodies)
    start = time.perf_counter() + WARM_UP_SECONDS
    latencies: list[float] = []

    async def client(send: SendRequest) -> None:
        while (sent := time.perf_counter()) < start + seconds:
            await send(next(endless))
            if start <= (received := time.perf_counter()) < start + seconds:
                latencies.append(received - sent)

    await asyncio.gather(*map(client, senders))
    return latencies
