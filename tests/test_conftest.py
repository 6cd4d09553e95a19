"""What becomes of a test whose program is not installed."""

from collections.abc import Callable

import pytest


def test_an_installed_tool_is_found(
    require_tool: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_TOOLS", "1")
    assert require_tool("sh").endswith("/sh")


@pytest.mark.parametrize(
    ("required", "outcome"), [("", pytest.skip.Exception), ("1", pytest.fail.Exception)], ids=["here", "CI"]
)
def test_a_missing_tool_skips_the_test_and_fails_it_in_ci(
    require_tool: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    required: str,
    outcome: type[BaseException],
) -> None:
    monkeypatch.setenv("REQUIRE_TOOLS", required)
    monkeypatch.setenv("PATH", "")
    with pytest.raises((pytest.skip.Exception, pytest.fail.Exception), match="kubernetes-client") as caught:
        require_tool("kubectl")
    assert caught.type is outcome
