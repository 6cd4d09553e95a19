"""Steps in forks of one Python that has imported TFX, which takes ten seconds and more in each new one."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.kubeflow_backend.containers import PYTHON, Container, Subprocesses

_PROGRAM = Path(__file__).with_name("prepared_python.py")


class Prepared(Subprocesses):
    """Runs `python -m` commands in forks of a process that has imported what they need.

    Of our own packages it has imported none: each command imports those of its image, as in a new process.
    Other commands get a new process.

    Args:
        home: Folder for the process; new.
        modules: What it imports.
        images: As in `Subprocesses`, as are the others.
    """

    def __init__(
        self,
        home: Path,
        modules: tuple[str, ...],
        images: Mapping[str, Path],
        claims: Mapping[str, Path] | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(images, claims, environment)
        self._home = home
        self._modules = modules

    def __enter__(self) -> Self:
        self._home.mkdir()
        self._control, theirs = socket.socketpair()
        with theirs, (self._home / "python.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", _PROGRAM, str(theirs.fileno()), *self._modules],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=self._around() | {"HOME": str(self._home)},
                pass_fds=[theirs.fileno()],
            )
        return self

    def __exit__(
        self,
        _type: type[BaseException] | None,
        _error: BaseException | None,
        _traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the process; what it has forked, and what these have left, lives on."""
        self._control.close()
        self._process.wait()

    def run(self, container: Container) -> int:
        """Runs a command to its end and returns its exit status; its process ends at the deadline."""
        program, *arguments = self._command(container)
        if program not in PYTHON or arguments[:1] != ["-m"]:
            return super().run(container)
        command = {
            "module": arguments[1:],
            "environment": self._environment(container),
            "cwd": str(container.pod),
            "log": str(container.log),
        }
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._control, [b"."], [theirs.fileno()])
        with ours, ours.makefile("rw", encoding="utf-8") as lines:
            print(json.dumps(command), file=lines, flush=True)
            process = int(lines.readline())
            ours.settimeout(container.deadline)
            try:
                return int(lines.read())  # to the end, which is when nothing of the command is left
            except TimeoutError:
                os.kill(process, signal.SIGKILL)
                ours.settimeout(None)
                return int(ours.recv(10))
