"""Sessions whose answers come in time: requests' own time-out is for each read, and a server may drip."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Any

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection


class Session(requests.Session):
    """Ends the connection of an answer that is not there within the read time-out, as a whole.

    Answers need `stream=True`, and `done` once they are read.
    """

    def __init__(self) -> None:
        super().__init__()
        for scheme in ("http://", "https://"):
            self.mount(scheme, _Adapter())


def done(response: requests.Response) -> None:
    """Stops the clock of an answer."""
    response.raw.watch.cancel()  # type: ignore[union-attr]  # _Watched gave it


class _Watched(HTTPConnection):
    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as urllib3 itself does
        assert self.sock is not None
        assert isinstance(self.timeout, int | float)  # the read time-out, by now
        watch = threading.Timer(self.timeout, _cut, [self.sock])
        watch.daemon = True
        watch.start()
        try:
            response = super().getresponse()
        except BaseException:
            watch.cancel()
            raise
        response.watch = watch  # type: ignore[attr-defined]
        return response


class _WatchedTls(_Watched, HTTPSConnection):
    pass


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Watched


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _WatchedTls


_POOLS = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager


def _cut(connection: socket.socket) -> None:
    """Makes a read under way end; closing would not."""
    with contextlib.suppress(OSError):  # it has ended meanwhile
        socket.socket.shutdown(connection, socket.SHUT_RDWR)  # not TLS's own, which is not for two threads
