"""How a task's command is run: one container, or what stands in for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

LAUNCHER_ROOT = "CATSDOGS_LAUNCHER_ROOT"
PYTHON = ("python", "python3")

# All that a process takes over from this machine's environment; what this interpreter needs is in the first.
_TAKEN_OVER = ("PATH", "LANG", "LC_ALL")


@dataclass(frozen=True)
class Container:
    """What the launcher starts in a pod.

    Attributes:
        task: Name of the task.
        image: As the pipeline names it.
        command: With all placeholders filled in.
        environment: What the pipeline sets.
        pod: Folder with what shall be the pod's `/minio`, `/s3`, `/gcs` and `/tmp`; new for every attempt.
        mounts: Names of volume claims by their paths in the pod.
        log: File for stdout and stderr.
        deadline: Seconds after which it is to be killed; None for never.
    """

    task: str
    image: str
    command: list[str]
    environment: Mapping[str, str]
    pod: Path
    mounts: Mapping[str, str]
    log: Path
    deadline: int | None = None


class Containers(Protocol):
    """A way to run containers."""

    def root(self, pod: Path) -> Path:
        """Returns where a command sees the folder of its pod."""
        ...

    def run(self, container: Container) -> int:
        """Runs a container to its end and returns its exit status."""
        ...


class Subprocesses:
    """Runs commands as processes of this machine, with this interpreter.

    A process has no root and no mounts of its own: the variable `CATSDOGS_LAUNCHER_ROOT` has the path of the
    pod's folder, and in the arguments the mount path of a claim becomes the claim's folder.
    They see neither this machine's environment nor its caches and credentials: their home lies in the pod.

    Attributes:
        images: The folder of packages that each image holds.
        claims: The folder of each volume claim.
        environment: What all of them get besides what the pipeline sets.
    """

    def __init__(
        self,
        images: Mapping[str, Path],
        claims: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.images = images
        self.claims = dict(claims or {})
        self.environment = dict(environment or {})

    def root(self, pod: Path) -> Path:
        """Returns the pod's folder itself."""
        return pod

    def run(self, container: Container) -> int:
        """Runs a command; `python` is this interpreter, and the image's packages come first on its path."""
        command = self._command(container)
        if command[0] in PYTHON:
            command = [sys.executable, *command[1:]]
        with container.log.open("ab") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=container.pod,
                env=self._environment(container),
            )
        try:
            return process.wait(container.deadline)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _command(self, container: Container) -> list[str]:
        return [self._on_claims(part, container.mounts) for part in container.command]

    def _environment(self, container: Container) -> dict[str, str]:
        home, temporary = container.pod / "home", container.pod / "tmp"
        for folder in (home, temporary):
            folder.mkdir(exist_ok=True)
        return {
            **self._around(),
            **container.environment,
            "PYTHONPATH": str(self.images[container.image]),
            "HOME": str(home),
            "TMPDIR": str(temporary),
            LAUNCHER_ROOT: str(container.pod),
        }

    def _around(self) -> dict[str, str]:
        return {name: os.environ[name] for name in _TAKEN_OVER if name in os.environ} | self.environment

    def _on_claims(self, text: str, mounts: Mapping[str, str]) -> str:
        if not mounts:
            return text
        paths = re.compile(rf"(?<![\w./-])({'|'.join(map(re.escape, mounts))})(?![\w.-])")
        return paths.sub(lambda found: str(self.claims[mounts[found[0]]]), text)
