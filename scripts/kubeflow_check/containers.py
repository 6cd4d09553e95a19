"""Runs containers of a pipeline with podman as Kubernetes would: no root, no network, little to write to."""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.kubeflow_backend.containers import Container

USER, GROUP = 1000, 0  # of the image
_LAUNCHER_FOLDERS = ("minio", "s3", "gcs", "tmp")

# Rootless: the user who runs podman is mapped to the image's user and owns the folders.
_AS_IMAGE_USER = (f"--userns=keep-id:uid={USER},gid={USER}", f"--user={USER}:{GROUP}")


class Podman:
    """A way to run containers (see `tests.kubeflow_backend.containers`).

    Args:
        flags: Podman's flags for this machine.
        claims: Folder behind each volume claim.
        read_only: Claims to mount read-only.
        report: Called when a task starts and when it ends.
        network: Value of `podman run --network`.
    """

    def __init__(
        self,
        flags: Sequence[str],
        claims: Mapping[str, Path],
        read_only: frozenset[str] = frozenset(),
        report: Callable[[str], None] = print,
        network: str = "none",
    ) -> None:
        self._flags = list(flags)
        self._claims = claims
        self._read_only = read_only
        self._report = report
        self._network = network

    def root(self, pod: Path) -> Path:
        """Returns the root of the pod's folders in the container."""
        return Path("/")

    def run(self, container: Container) -> int:
        """Runs a container to its end and returns its exit status; what it prints goes to its log."""
        started = time.monotonic()
        self._report(f"{container.task} …")
        name = f"catsdogs-check-{uuid.uuid4().hex[:12]}"
        with container.log.open("ab") as log:
            try:
                status = subprocess.run(
                    self.command(container, name),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    check=False,
                ).returncode
            except BaseException:
                subprocess.run(
                    ["podman", "rm", "--force", "--ignore", name], capture_output=True, check=False
                )
                raise
        ended = "done" if status == 0 else f"failed with exit status {status}"
        self._report(f"{container.task} {ended}, {time.monotonic() - started:.0f} s")
        return status

    def command(self, container: Container, name: str) -> list[str]:
        """Returns podman's command line, after changing the owner of the pod's folders."""
        mounts = []
        for folder in _LAUNCHER_FOLDERS:
            (container.pod / folder).mkdir(exist_ok=True)
            mounts.append(f"--volume={container.pod / folder}:/{folder}")
        for path, claim in container.mounts.items():
            options = ":ro" if claim in self._read_only else ""
            mounts.append(f"--volume={self._claims[claim]}:{path}{options}")
        change_owner(container.pod)
        program, *arguments = container.command
        return [
            *("podman", "run", "--rm", f"--name={name}", "--pull=never", *self._flags),
            *(f"--network={self._network}", "--cap-drop=all", "--security-opt=no-new-privileges"),
            *("--read-only", "--tmpfs=/home/catsdogs:rw,mode=1777"),
            *((f"--timeout={container.deadline}",) if container.deadline else ()),
            *(() if _is_root() else _AS_IMAGE_USER),
            *mounts,
            *(f"--env={name}={value}" for name, value in container.environment.items()),
            *("--entrypoint", json.dumps([program]), container.image, *arguments),
        ]


def change_owner(folder: Path) -> None:
    """Makes the image's user the owner of a folder and its contents, as Kubernetes does for volumes."""
    if not _is_root():
        return
    for parent, _, files in os.walk(folder):
        for path in (parent, *(os.path.join(parent, file) for file in files)):  # noqa: PTH118
            os.chown(path, USER, GROUP)


def _is_root() -> bool:
    return os.geteuid() == 0
