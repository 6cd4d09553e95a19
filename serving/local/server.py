"""Runs the local server: REST and gRPC on one event loop, from loading the models to a graceful shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from serving.errors import ServingError, UsageError
from serving.local.options import ServerOptions

if TYPE_CHECKING:
    from aiohttp import web

    from serving.local.served_models import ServedModels

_GRACE_SECONDS = 30  # for requests in flight at shutdown
_BACKLOG = 4096  # connections waiting to be accepted; the kernel may cap it


@dataclass(frozen=True)
class Ports:
    """The open ports of a server.

    Attributes:
        rest: The HTTP port.
        grpc: The gRPC port.
    """

    rest: int
    grpc: int


def is_loopback(host: str) -> bool:
    """Returns True if only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_ports(options: ServerOptions) -> None:
    """Checks that both ports are free, before any model is loaded.

    Raises:
        ServingError: A port is in use.
        UsageError: A port needs root, REST and gRPC have the same port, or the host is not this machine.
    """
    if options.rest_port == options.grpc_port != 0:
        raise UsageError(f"REST and gRPC both have port {options.rest_port}: choose two different ports.")
    for port, option in ((options.rest_port, "--rest-port"), (options.grpc_port, "--grpc-port")):
        with _bind(options.host, port, option):
            pass


def serve(
    models: ServedModels,
    options: ServerOptions,
    on_ready: Callable[[Ports], None],
    on_loading: Callable[[float], None],
) -> None:
    """Serves until SIGINT or SIGTERM, then completes the requests in flight.

    As in TensorFlow Serving, the ports open only after the first attempt to load every model.

    Args:
        models: The models to serve; started and stopped here.
        options: Where to listen, and the request limits.
        on_ready: Called with the ports once they are open.
        on_loading: Called every second while models are loading, with the seconds elapsed.

    Raises:
        ServingError: A port is in use.
        UsageError: A port needs root, REST and gRPC have the same port, or the host is not this machine.
    """
    asyncio.run(_serve(models, options, on_ready, on_loading))


async def _serve(
    models: ServedModels,
    options: ServerOptions,
    on_ready: Callable[[Ports], None],
    on_loading: Callable[[float], None],
) -> None:
    from serving.local import grpc_service, rest
    from serving.local.batching import Batcher
    from serving.local.metrics import ServerMetrics
    from serving.local.pixel_limit import PixelLimiter

    _raise_file_limit()
    stop = _stop_on_signal()
    limits, metrics = options.limits, ServerMetrics()
    check_ports(options)
    with _bind(options.host, options.rest_port, "--rest-port") as rest_socket:
        models.start()
        batcher = Batcher(PixelLimiter(limits.max_pixels).run, metrics)
        grpc_server = grpc_service.create_server(batcher, models, metrics, limits)
        runner = rest.create_runner(batcher, models, metrics, limits, (options.host, *options.allowed_hosts))
        try:
            if await _wait_until_loaded(models, stop, on_loading):
                grpc_host = f"[{options.host}]" if ":" in options.host else options.host
                try:
                    grpc_port = grpc_server.add_insecure_port(f"{grpc_host}:{options.grpc_port}")
                except RuntimeError as error:  # another process has opened the port since check_ports
                    in_use = OSError(errno.EADDRINUSE, str(error))
                    raise _listen_error(options.host, options.grpc_port, "--grpc-port", in_use) from error
                await runner.setup()
                await _open_rest_port(runner, rest_socket, options)
                await grpc_server.start()
                on_ready(Ports(rest_socket.getsockname()[1], grpc_port))
                await stop.wait()
                await grpc_service.accept_waiting_requests(f"{grpc_host}:{grpc_port}")
        finally:
            await asyncio.gather(grpc_server.stop(_GRACE_SECONDS), runner.cleanup())
            batcher.close()
            models.stop()


def _stop_on_signal() -> asyncio.Event:
    """Returns an event that the first SIGINT or SIGTERM sets; the second ends the process as usual."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def handle_signal() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, handle_signal)
    return stop


async def _wait_until_loaded(
    models: ServedModels, stop: asyncio.Event, on_loading: Callable[[float], None]
) -> bool:
    """Returns True once all models are loaded or have failed to load, False if `stop` is set first."""
    started = asyncio.get_running_loop().time()
    while not await asyncio.to_thread(models.wait_until_loaded, 1.0):
        if stop.is_set():
            return False
        on_loading(asyncio.get_running_loop().time() - started)
    return not stop.is_set()


@contextlib.contextmanager
def _bind(host: str, port: int, option: str) -> Iterator[socket.socket]:
    """Yields a socket bound to the port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(
            f"The host {host} is unknown ({error.strerror}): use an address of this machine."
        ) from error
    with socket.socket(family, kind, protocol) as bound_socket:
        bound_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # ignore TIME_WAIT
        try:
            bound_socket.bind(address)
        except OSError as error:
            raise _listen_error(host, port, option, error) from error
        yield bound_socket


async def _open_rest_port(runner: web.BaseRunner, rest_socket: socket.socket, options: ServerOptions) -> None:
    from aiohttp import web

    try:
        await web.SockSite(runner, rest_socket, backlog=_BACKLOG).start()
    except OSError as error:  # another process bound the port too, and listens first
        raise _listen_error(options.host, options.rest_port, "--rest-port", error) from error


def _listen_error(host: str, port: int, option: str, error: OSError) -> ServingError:
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(
            f"The host {host} is not an address of this machine: "
            "use 127.0.0.1, or 0.0.0.0 for all network interfaces."
        )
    if error.errno == errno.EACCES:
        return UsageError(f"The port {port} is reserved for root: choose one above 1023 with {option}.")
    return ServingError(
        f"The port {port} is in use: stop the process that listens there, or choose another with {option}."
    )


def _raise_file_limit() -> None:
    """Raises the limit of open files, usually 1,024: every connection is one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
