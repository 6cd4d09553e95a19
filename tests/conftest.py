from __future__ import annotations

import io
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from PIL import Image

from tests.flink.packages import FlinkPackages, PackagesUnavailable, load_packages

# The background job of a shell, as CI may be one, ignores these; what the tests start would inherit that.
for number, usual in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGQUIT, signal.SIG_DFL),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, usual)

_PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data" / "cats_and_dogs"


@pytest.fixture(scope="session")
def photographs() -> Path:
    """The 3,000 shared photographs: `{train,validation}/{cats,dogs}/*.jpg`."""
    if not _PHOTOGRAPHS.is_dir():
        pytest.skip(f"needs photographs, and there is no {_PHOTOGRAPHS}")
    return _PHOTOGRAPHS


# Debian's packages of the programs that tests run, where the names differ.
_PACKAGES = {
    "apt-get": "apt",
    "bwrap": "bubblewrap",
    "java": "default-jre-headless",
    "kubectl": "kubernetes-client",
    "mvn": "maven",
}


@pytest.fixture(scope="session")
def require_tool() -> Callable[[str], str]:
    """`require_tool("chromium")`: the path of a program that a test runs.

    Without the program, the test is skipped, or fails where $REQUIRE_TOOLS is set, as .ci/run does.
    """

    def find(name: str) -> str:
        if path := shutil.which(name):
            return path
        _skip(f"needs {name}, which is not installed: Debian's package {_PACKAGES.get(name, name)}")

    return find


@pytest.fixture(scope="session")
def flink_packages(require_tool: Callable[[str], str]) -> FlinkPackages:
    """Flink and Beam's job server for it, for a `tests.flink.cluster.FlinkCluster`."""
    require_tool("bwrap")
    require_tool("java")
    require_tool("mvn")
    try:
        return load_packages()
    except PackagesUnavailable as error:
        _skip(f"needs Flink: {error}")


def _skip(reason: str) -> NoReturn:
    """Skips a test, or fails it where all that tests need must be there."""
    if os.environ.get("REQUIRE_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture
def unprivileged() -> Iterator[Path]:
    """A folder of a user other than root, because permissions do not restrict root."""
    if os.geteuid() != 0:
        with tempfile.TemporaryDirectory() as folder:
            yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        nobody = 65534
        os.chown(folder, nobody, nobody)
        os.seteuid(nobody)
        try:
            yield Path(folder)
        finally:
            os.seteuid(0)


def encode(
    index: int, kind: str = "JPEG", mode: str = "RGB", size: tuple[int, int] = (48, 40), **how: Any
) -> bytes:
    """Returns a small noisy image, another one for every index."""
    pixels = np.random.default_rng(index).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **how)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def make_image() -> Callable[..., bytes]:
    """`image(index, kind="JPEG", mode="RGB", size=(width, height), **options)`: an encoded image."""
    return encode


@pytest.fixture
def folder_of(tmp_path: Path) -> Callable[[Mapping[str, int]], Path]:
    """`folder_of({"cats": 3, "dogs": 2})`: a folder with so many different images in each sub-folder."""

    def make(counts: Mapping[str, int]) -> Path:
        root = tmp_path / "pictures"
        index = 0
        for name, count in counts.items():
            folder = root / name
            folder.mkdir(parents=True)
            for _ in range(count):
                (folder / f"{index:04d}.jpg").write_bytes(encode(index))
                index += 1
        return root

    return make
