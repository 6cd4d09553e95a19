from __future__ import annotations

import asyncio
import socket

import pytest
from aiohttp import HttpVersion10, web
from aiohttp.test_utils import make_mocked_request

from serving.local import same_origin

PREDICT = "/v1/models/catsdogs:predict"
LOCAL = {"Host": "localhost:8501"}


async def _handle(request: web.Request) -> web.StreamResponse:
    return web.Response()


def is_accepted(request: web.Request) -> bool:
    """Returns True if the request reaches the server's handler."""
    middleware = same_origin.create_middleware(["serving.internal", "Models.Example"])
    try:
        return asyncio.run(middleware(request, _handle)).status == 200  # type: ignore[arg-type]
    except web.HTTPForbidden:
        return False


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "localhost:8501", "LOCALHOST:1", socket.gethostname()),
        *("127.0.0.1:8501", "10.2.3.4", "[::1]:8501", "[fe80::1]"),
        *("serving.internal:8501", "models.example"),
    ],
)
def test_accepts_the_servers_names_and_addresses(host: str) -> None:
    assert is_accepted(make_mocked_request("POST", PREDICT, {"Host": host}))


@pytest.mark.parametrize(
    "host",
    [
        *("evil.example", "evil.example:8501", "localhost.evil.example", "127.0.0.1.evil.example"),
        *("other.models.example", "localhost@evil.example", "localhost:8501:80", "1.2.3", "", "[", "\x1b[m"),
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_rejects_other_hosts(host: str, method: str) -> None:
    assert not is_accepted(make_mocked_request(method, "/", {"Host": host}))


def test_the_error_names_the_host_and_the_option() -> None:
    middleware = same_origin.create_middleware(())
    with pytest.raises(web.HTTPForbidden) as refused:
        asyncio.run(middleware(make_mocked_request("GET", "/", {"Host": "my.name:8501"}), _handle))  # type: ignore[arg-type]
    assert "--allow-host my.name" in (refused.value.text or "")


def test_accepts_http_1_0_without_a_host() -> None:
    assert is_accepted(make_mocked_request("GET", "/", version=HttpVersion10))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "https://localhost.evil.example:8501"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://localhost"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "made up"},
    ],
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_rejects_other_origins(headers: dict[str, str], method: str) -> None:
    assert not is_accepted(make_mocked_request(method, PREDICT, LOCAL | headers))


def test_rejects_a_form_of_another_site() -> None:
    form = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert not is_accepted(make_mocked_request("POST", PREDICT, LOCAL | form))


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://localhost:8501"},
        {"Origin": "http://localhost:8501", "Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Origin": "https://proxy.example", "Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_accepts_the_servers_own_page(headers: dict[str, str]) -> None:
    assert is_accepted(make_mocked_request("POST", PREDICT, LOCAL | headers))


def test_accepts_a_link_from_another_site() -> None:
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    assert is_accepted(make_mocked_request("GET", "/", LOCAL | link))
