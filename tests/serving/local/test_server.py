from __future__ import annotations

import asyncio
import json
import resource
import signal
import socket
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import grpc
import pytest
from aiohttp import web
from tensorflow_serving.apis import predict_pb2

from serving.errors import ServingError
from serving.local import server as server_module
from serving.local.options import ServerOptions
from serving.local.server_process import RunningServer, run_local_server
from tests.serving import saved_models

pytestmark = pytest.mark.slow

BODY = b'{"instances": [[1.0], [2.0]]}'
PREDICT = "/tensorflow.serving.PredictionService/Predict"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "half"
    saved_models.half_plus_two(folder)
    return folder


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[RunningServer]:
    with run_local_server(folder, "half") as address:
        yield address


def request(body: bytes = BODY) -> bytes:
    head = f"POST /v1/models/half:predict HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def grpc_request() -> bytes:
    message = predict_pb2.PredictRequest(model_spec={"name": "half"})
    message.inputs["x"].dtype = 1
    message.inputs["x"].tensor_shape.dim.add(size=1)
    message.inputs["x"].tensor_shape.dim.add(size=1)
    message.inputs["x"].float_val.append(4)
    return message.SerializeToString()


async def response(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = next(line for line in head.splitlines() if line.lower().startswith("content-length:"))
    return int(head.split()[1]), await reader.readexactly(int(length.split(":")[1]))


def test_serves_a_thousand_connections_and_hundreds_of_channels(server: RunningServer) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    address = urlsplit(server.rest_url)

    async def over_grpc() -> float:
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
        async with grpc.aio.insecure_channel(server.grpc_address, options=options) as channel:
            said = await channel.unary_unary(PREDICT)(grpc_request())
        return predict_pb2.PredictResponse.FromString(said).outputs["y"].float_val[0]

    async def main() -> None:
        connections = [await asyncio.open_connection(address.hostname, address.port) for _ in range(1000)]
        for _ in range(2):  # the second time on kept-alive connections
            for _, writer in connections:
                writer.write(request())
            responses = await asyncio.gather(*(response(reader) for reader, _ in connections))
            assert {status for status, _ in responses} == {200}
            assert {tuple(map(tuple, json.loads(body)["predictions"])) for _, body in responses} == {
                ((2.5,), (3.0,))
            }
        assert await asyncio.gather(*(over_grpc() for _ in range(200))) == [4] * 200
        for _, writer in connections:
            writer.close()

    asyncio.run(main())


def test_restarts_on_its_ports_after_a_kill_and_stops_gracefully(server: RunningServer, folder: Path) -> None:
    rest, other = urlsplit(server.rest_url), urlsplit(f"//{server.grpc_address}")
    with socket.create_connection((rest.hostname, rest.port)) as connection:
        connection.sendall(request())
        assert connection.recv(100).startswith(b"HTTP/1.1 200")
        server.process.kill()
        server.process.wait()
        with run_local_server(folder, "half", rest_port=rest.port or 0, grpc_port=other.port or 0) as again:
            assert (again.rest_url, again.grpc_address) == (server.rest_url, server.grpc_address)
            large = json.dumps({"instances": [[1.0]] * 40_000}).encode()

            def send(_: int) -> int:
                sent = urllib.request.Request(f"{again.rest_url}/v1/models/half:predict", data=large)
                with urllib.request.urlopen(sent) as said:
                    return len(json.load(said)["predictions"])

            with ThreadPoolExecutor(8) as threads:
                responses = [threads.submit(send, number) for number in range(8)]
                time.sleep(0.3)
                again.process.send_signal(signal.SIGTERM)
                in_flight = [not one.done() for one in responses]
                assert [one.result() for one in responses] == [40_000] * 8
            assert any(in_flight)
            assert again.process.wait(30) == 0
            with pytest.raises(OSError):
                socket.create_connection((rest.hostname, rest.port))


def test_fails_if_another_server_opens_the_same_port_first() -> None:
    with socket.socket() as first:
        first.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        first.bind(("127.0.0.1", 0))
        port = first.getsockname()[1]

        async def second() -> None:
            runner = web.ServerRunner(web.Server(lambda _: None))  # type: ignore[arg-type,return-value]
            await runner.setup()
            with server_module._bind("127.0.0.1", port, "--rest-port") as bound:
                first.listen()
                await server_module._open_rest_port(runner, bound, ServerOptions(rest_port=port))

        with pytest.raises(ServingError, match=str(port)):
            asyncio.run(second())
