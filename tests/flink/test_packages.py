"""The cache of Flink's packages, with stand-ins for the programs that fill it."""

from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.flink.packages import PackagesUnavailable, load_packages

_UV = 'echo uv >> "$CALLS"; while [ "$1" != --target ]; do shift; done; mkdir -p "$2/pyflink"'
_MVN = 'echo mvn >> "$CALLS"; cd "$(dirname "$3")"; mkdir target; touch target/job-server.jar'


def add_program(path: Path, script: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an empty cache and programs that write to `calls`."""
    add_program(tmp_path / "bin/uv", _UV)
    add_program(tmp_path / "bin/mvn", _MVN)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "bin/python"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_packages_are_made_once_even_by_several_at_a_time(host: Path) -> None:
    with ThreadPoolExecutor() as pool:
        [first, *others] = [future.result() for future in [pool.submit(load_packages) for _ in range(4)]]
    assert first.home.is_dir()
    assert first.job_server.is_file()
    assert others == [first] * 3
    assert (host / "calls").read_text().split() == ["uv", "mvn"]


def test_a_program_that_fails_is_quoted_and_leaves_nothing(host: Path) -> None:
    add_program(host / "bin/mvn", "mkdir $(dirname $3)/content; echo no such artifact; exit 1")
    with pytest.raises(PackagesUnavailable, match="mvn failed: no such artifact"):
        load_packages()
    assert len([path for path in (host / "cache/catsdogs-tests").iterdir() if path.is_dir()]) == 1
    add_program(host / "bin/mvn", _MVN)
    assert load_packages().job_server.is_file()
