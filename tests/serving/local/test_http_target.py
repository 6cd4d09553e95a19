from __future__ import annotations

import pytest

from serving.local.http_target import Call, Target, call, target
from serving.local.status import StatusError


@pytest.mark.parametrize(
    ("text", "path", "whole"),
    [
        ("/v1/models/m", "/v1/models/m", "/v1/models/m"),
        ("/v1/models/m?a=1#b", "/v1/models/m", "/v1/models/m?a=1#b"),
        ("http://host:80/v1/models/m:predict", "/v1/models/m:predict", "/v1/models/m:predict"),
        ("//v1/models/m", "/models/m", "/models/m"),
        ("*", "*", "*"),
        ("/a%2Fb/../c", "/a%2Fb/../c", "/a%2Fb/../c"),
    ],
)
def test_target(text: str, path: str, whole: str) -> None:
    assert target(text) == Target(path, whole)


@pytest.mark.parametrize(
    "text", ["/a b", "/é", "/%g0", "/%2", "/a[0]", "/a|b", '/"', "/a\\b", "/<", "/a#b#c"]
)
def test_what_is_no_uri(text: str) -> None:
    assert target(text) is None


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("POST", "/v1/models/m:predict", Call("m", None, None, "predict")),
        ("POST", "/V1/MODELS/M/Versions/012:Classify", Call("M", 12, None, "Classify")),
        ("POST", "/v1/models/a%2Fb/labels/x%20y:regress", Call("a/b", None, "x y", "regress")),
        ("GET", "/v1/models", Call()),
        ("GET", "/v1/models/m/labels/stable/Metadata", Call("m", None, "stable", "Metadata")),
        ("GET", "/v1/models/m/versions/9223372036854775807", Call("m", 2**63 - 1)),
        ("GET", "/v1/models/versions", Call("versions")),
        ("GET", "/v1/models/metadata", Call("metadata")),
        ("GET", "/v1/models/m%FF", Call("m\udcff")),
        ("GET", "/v1/models/m/versions/٣", None),
        ("GET", "/v1/models/m:predict", None),
        ("POST", "/v1/models/m", None),
        ("PUT", "/v1/models/m:predict", None),
        ("get", "/v1/models/m", None),
    ],
)
def test_call(method: str, path: str, expected: Call | None) -> None:
    assert call(method, path) == expected


@pytest.mark.parametrize("number", ["9223372036854775808", "1" * 5000])
def test_version_is_an_int64(number: str) -> None:
    with pytest.raises(StatusError, match=f"^Failed to convert version: {number} to numeric.$"):
        call("GET", f"/v1/models/m/versions/{number}")
