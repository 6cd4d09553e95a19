from __future__ import annotations

import re

import pytest

from serving.client import Client
from serving.client.transport import parse_url
from serving.errors import UsageError


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("http://localhost:8501", (False, "http://localhost:8501")),
        ("https://models.example/serving/", (False, "https://models.example/serving")),
        ("grpc://localhost", (True, "localhost:8500")),
        ("grpc://[::1]:9000/", (True, "[::1]:9000")),
    ],
)
def test_addresses(url: str, meant: tuple[bool, str]) -> None:
    assert parse_url(url) == meant


@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost:8501", "ftp://localhost", "http://", "http://host:port", "http://host/?model=a"),
        *("grpcs://host:8500", "grpc://host/path", "http://[::1"),
    ],
)
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(url))):
        Client(url)


@pytest.mark.parametrize("name", ["", "a/b", "a:predict"])
def test_what_is_no_name_is_told(name: str) -> None:
    with pytest.raises(UsageError, match=repr(name)):
        Client(model=name)


@pytest.mark.parametrize("version", [-1, 2**63, 99999999999999999999999])
@pytest.mark.parametrize("url", ["http://localhost:8501", "grpc://localhost:8500"])
def test_what_is_no_version_is_told(url: str, version: int) -> None:
    with pytest.raises(UsageError, match=f"{version}.*0 to {2**63 - 1}"):
        Client(url, version=version)


def test_a_version_and_a_label_exclude_each_other() -> None:
    with pytest.raises(UsageError, match="3.*'stable'"):
        Client(version=3, label="stable")
