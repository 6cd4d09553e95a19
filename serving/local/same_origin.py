"""Rejects requests that pages of other web sites send through a user's browser.

The server has no authentication, so any page open in a browser that can reach the server could use it. Other
clients send no `Origin`; for them only `Host` is checked. gRPC needs no such check: pages cannot send HTTP/2
without TLS.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web
from aiohttp.typedefs import Middleware

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def create_middleware(hosts: Iterable[str]) -> Middleware:
    """Returns an aiohttp middleware that raises HTTPForbidden for a foreign host or origin.

    Args:
        hosts: The server's names, besides `localhost` and this machine's host name. IP addresses are always
            accepted: an attacker can make their own domain resolve to this machine, but not an address.
    """
    names = {"localhost", socket.gethostname().lower(), *(host.lower() for host in hosts)}

    @web.middleware
    async def middleware(request: web.Request, handler: _Handler) -> web.StreamResponse:
        host = request.headers.get("Host")  # aiohttp rejects HTTP/1.1 without it
        if host is not None:
            name = re.sub(r":\d*$", "", host).strip("[]").rstrip(".").lower()
            if name not in names and not _is_ip_address(name):
                raise web.HTTPForbidden(
                    text=f"The request is for the host {name}, which is not a name of this server: "
                    f"use localhost or an IP address, or start the server with --allow-host {name}."
                )
        if _is_cross_origin(request):
            raise web.HTTPForbidden(
                text=f"The request comes from a web page of {request.headers.get('Origin', 'another site')}: "
                "only this server's own page and clients that are not browsers can send requests."
            )
        return await handler(request)

    return middleware


def _is_ip_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_cross_origin(request: web.Request) -> bool:
    """Returns True for requests from pages of other origins, except links to this server.

    Browsers send `Sec-Fetch-Site` to localhost and over TLS only, and `Origin` with every POST.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        is_link = request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate"
        return site not in ("same-origin", "none") and not is_link
    origin = request.headers.get("Origin")
    host = request.headers.get("Host", "")
    return origin is not None and origin.partition("://")[2].lower() != host.lower()
