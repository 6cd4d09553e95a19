from __future__ import annotations

import re

import pytest

from serving.client import Client
from serving.client.protocol import is_local, parse_url
from serving.errors import UsageError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://localhost:8501", (False, "http://localhost:8501")),
        ("https://models.example/serving/", (False, "https://models.example/serving")),
        ("grpc://localhost", (True, "localhost:8500")),
        ("grpc://[::1]:9000/", (True, "[::1]:9000")),
    ],
)
def test_urls_select_the_protocol_and_address(url: str, expected: tuple[bool, str]) -> None:
    assert parse_url(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8501", "ftp://localhost", "http://", "http://host:port", "http://host/?model=a"),
        *("grpcs://host:8500", "grpc://host/path", "http://[::1"),
    ],
)
def test_invalid_urls_are_usage_errors(url: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(url))):
        Client(url)


@pytest.mark.parametrize("name", ["", "a/b", "a:predict"])
def test_invalid_model_names_are_usage_errors(name: str) -> None:
    with pytest.raises(UsageError, match=repr(name)):
        Client(model=name)


@pytest.mark.parametrize("version", [-1, 2**63, 99999999999999999999999])
@pytest.mark.parametrize("url", ["http://localhost:8501", "grpc://localhost:8500"])
def test_invalid_versions_are_usage_errors(url: str, version: int) -> None:
    with pytest.raises(UsageError, match=f"{version}.*0 to {2**63 - 1}"):
        Client(url, version=version)


def test_version_and_label_together_are_a_usage_error() -> None:
    with pytest.raises(UsageError, match="3.*'stable'"):
        Client(version=3, label="stable")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *((host, True) for host in ("localhost", "127.0.0.1", "127.1.2.3", "[::1]")),
        *((host, False) for host in ("localhost.example", "127.0.0.1.example", "0.0.0.0", "[::2]")),
    ],
)
def test_is_local_is_true_for_loopback_addresses_only(host: str, expected: bool) -> None:
    assert is_local(f"http://{host}:8501/path") == expected
