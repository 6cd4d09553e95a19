"""Apache Flink and Beam's job server for it, from PyPI and Maven Central, kept in a cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_DOWNLOAD_SECONDS = 900


class PackagesUnavailable(Exception):
    """A package cannot be downloaded or built; the message says which and why."""


@dataclass(frozen=True)
class FlinkPackages:
    """Unpacked packages.

    Attributes:
        home: Flink's `lib` and `conf`.
        job_server: Beam's job server, an executable archive.
    """

    home: Path
    job_server: Path

    @property
    def folders(self) -> list[Path]:
        """The folders to make visible where only these may be seen."""
        return [self.home, self.job_server.parent]


def load_packages() -> FlinkPackages:
    """Returns the packages, which are downloaded (300 MB) and built (30 s) if the cache lacks them.

    Raises:
        PackagesUnavailable: A package cannot be downloaded or built.
    """
    home = _cached(_HERE / "requirements.txt", _install_flink)
    job_server = _cached(_HERE / "pom.xml", _build_job_server)
    return FlinkPackages(home / "pyflink", job_server / "job-server.jar")


def _cached(definition: Path, build: Callable[[Path, Path], None]) -> Path:
    """Returns the folder that `build` fills from a definition, once for each content of the definition."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "catsdogs-tests"
    cache.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(definition.read_bytes()).hexdigest()
    folder = cache / f"flink-{definition.stem}-{digest[:12]}"
    with (cache / f"{folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=cache) as unfinished:
                build(definition, Path(unfinished))
                (Path(unfinished) / "content").rename(folder)
    return folder


def _install_flink(requirements: Path, folder: Path) -> None:
    uv = Path(sys.executable).with_name("uv")
    target = folder / "content"
    options = ["--no-cache", "--no-deps", "--require-hashes", "--python", sys.executable]
    _run([uv, "pip", "install", *options, "--target", target, "--requirement", requirements])


def _build_job_server(pom: Path, folder: Path) -> None:
    shutil.copy(pom, folder)
    _run(["mvn", "--batch-mode", "--file", folder / "pom.xml", "package"])
    (folder / "content").mkdir()
    (folder / "target/job-server.jar").rename(folder / "content/job-server.jar")


def _run(command: list[str | Path]) -> None:
    try:
        subprocess.run(
            command,
            check=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_DOWNLOAD_SECONDS,
        )
    except subprocess.CalledProcessError as error:
        raise PackagesUnavailable(f"{Path(command[0]).name} failed: {error.stdout[-1000:]}") from error
    except subprocess.TimeoutExpired as error:
        raise PackagesUnavailable(f"{Path(command[0]).name} took {_DOWNLOAD_SECONDS} s.") from error
