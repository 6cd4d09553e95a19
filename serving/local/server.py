"""The local server as a whole: REST and gRPC on one event loop, from the first load to the last answer."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import resource
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serving.errors import ServingError, UsageError
from serving.local.limits import RequestLimits

if TYPE_CHECKING:
    import grpc
    from aiohttp import web

    from serving.local.models import Models

_GRACE_SECONDS = 30  # what requests under way get to finish when the server is stopped
_BACKLOG = 4096  # connections that wait to be accepted; the system may cap it


@dataclass(frozen=True)
class Options:
    """Where to listen, and within which limits.

    Attributes:
        host: Name or address of the interface to listen on.
        rest_port: 0 means a free one.
        grpc_port: 0 means a free one.
        limits: What requests may cost.
    """

    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    limits: RequestLimits = field(default_factory=RequestLimits)


@dataclass(frozen=True)
class Ports:
    """What the server listens on.

    Attributes:
        rest: HTTP's port.
        grpc: gRPC's port.
    """

    rest: int
    grpc: int


def is_loopback(host: str) -> bool:
    """Tells whether only this machine can reach what listens on an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def check_ports(options: Options) -> None:
    """Finds out whether the ports are free, before anything is loaded.

    Raises:
        ServingError: A port is taken.
        UsageError: A port may not be used, or the host is not one of this machine's.
    """
    if options.rest_port == options.grpc_port != 0:
        raise UsageError(f"Both REST and gRPC are to use port {options.rest_port}: name two different ones.")
    for port, option in ((options.rest_port, "--rest-port"), (options.grpc_port, "--grpc-port")):
        with _bound(options.host, port, option):
            pass


def serve(
    models: Models, options: Options, ready: Callable[[Ports], None], waiting: Callable[[float], None]
) -> None:
    """Serves until SIGINT or SIGTERM; requests that are under way then are answered.

    The ports open once every model is loaded, cannot be loaded, or has no version: as with TensorFlow
    Serving, who can connect can ask.

    Args:
        models: What to serve; started and stopped here.
        options: Where to listen, and within which limits.
        ready: Called with the ports once they are open.
        waiting: Called every second while models are being loaded, with the seconds so far.

    Raises:
        ServingError: A port is taken.
        UsageError: A port may not be used, or the host is not one of this machine's.
    """
    asyncio.run(_serve(models, options, ready, waiting))


async def _serve(
    models: Models, options: Options, ready: Callable[[Ports], None], waiting: Callable[[float], None]
) -> None:
    from serving.local import grpc_service, rest
    from serving.local.batching import Batcher
    from serving.local.metrics import Metrics
    from serving.local.pixel_limit import PixelBound

    _raise_file_limit()
    stop = _stop_event()
    limits, metrics = options.limits, Metrics()
    check_ports(options)
    with _bound(options.host, options.rest_port, "--rest-port") as rest_socket:
        models.start()
        batcher = Batcher(PixelBound(limits.max_pixels).run, metrics)
        grpc_server = grpc_service.server(batcher, models, metrics, limits)
        runner = rest.runner(batcher, models, metrics, limits)
        try:
            if await _loaded(models, stop, waiting):
                grpc_port = _listen(grpc_server, options)
                await runner.setup()
                await _accept(runner, rest_socket, options)
                await grpc_server.start()
                ready(Ports(rest_socket.getsockname()[1], grpc_port))
                await stop.wait()
        finally:
            await asyncio.gather(grpc_server.stop(_GRACE_SECONDS), runner.cleanup())
            batcher.close()
            models.stop()


def _stop_event() -> asyncio.Event:
    """Returns what the first SIGINT or SIGTERM sets; the second ends the process as usual."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def asked() -> None:
        stop.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked)
    return stop


async def _loaded(models: Models, stop: asyncio.Event, waiting: Callable[[float], None]) -> bool:
    """Waits until all that can be loaded is loaded; returns False if the server is to stop before."""
    started = asyncio.get_running_loop().time()
    while not await asyncio.to_thread(models.wait_until_loaded, 1.0):
        if stop.is_set():
            return False
        waiting(asyncio.get_running_loop().time() - started)
    return not stop.is_set()


@contextlib.contextmanager
def _bound(host: str, port: int, option: str) -> Iterator[socket.socket]:
    """Yields a socket that holds a port."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(
            f"The host {host} is unknown ({error.strerror}): name an address of this machine."
        ) from error
    with socket.socket(family, kind, protocol) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that just ended is no obstacle
        try:
            bound.bind(address)
        except OSError as error:
            raise _cannot_listen(host, port, option, error) from error
        yield bound


def _cannot_listen(host: str, port: int, option: str, error: OSError) -> ServingError:
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(
            f"The host {host} is not this machine: 127.0.0.1 is, and 0.0.0.0 for all its networks."
        )
    if error.errno == errno.EACCES:
        return UsageError(f"The port {port} is the system's: name one above 1023 with {option}.")
    return ServingError(
        f"The port {port} is taken: end what listens there, or name another port with {option}."
    )


async def _accept(runner: web.BaseRunner, rest_socket: socket.socket, options: Options) -> None:
    """Opens REST's port."""
    from aiohttp import web

    try:
        await web.SockSite(runner, rest_socket, backlog=_BACKLOG).start()
    except OSError as error:  # another server that was bound to the port as well has opened it first
        raise _cannot_listen(options.host, options.rest_port, "--rest-port", error) from error


def _listen(grpc_server: grpc.aio.Server, options: Options) -> int:
    """Opens gRPC's port and returns it."""
    host = f"[{options.host}]" if ":" in options.host else options.host
    try:
        return grpc_server.add_insecure_port(f"{host}:{options.grpc_port}")
    except RuntimeError as error:  # taken since the look at it
        taken = OSError(errno.EADDRINUSE, str(error))
        raise _cannot_listen(options.host, options.grpc_port, "--grpc-port", taken) from error


def _raise_file_limit() -> None:
    """Every connection is an open file, and the usual limit is 1,024."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
