"""A computer for shell scripts to run on, in a folder."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = (
    "awk bash cat cp cut df dirname find flock getconf grep head mkdir mktemp mv readlink rm sed sha256sum "
    "sleep sort tail uname xargs"
)


class Host:
    """A computer with nothing on its PATH but the tools of every Linux, and what a test adds.

    Args:
        folder: Where it is, made here.
        project: The project whose scripts it runs.
    """

    tools = TOOLS

    def __init__(self, folder: Path, project: Path = ROOT) -> None:
        self.bin = folder / "bin"
        self.home = folder / "home"
        self.project = project
        self.bin.mkdir(parents=True)
        self.home.mkdir()
        self.variables: dict[str, str] = {}
        for tool in self.tools.split():
            where = shutil.which(tool)
            assert where, f"{tool} is missing on this computer"
            (self.bin / tool).symlink_to(where)

    @property
    def environment(self) -> dict[str, str]:
        """The variables of its processes."""
        return {"PATH": str(self.bin), "HOME": str(self.home), **self.variables}

    def add(self, path: str | Path, script: str) -> Path:
        """Puts a shell script at a path (from `bin`), in place of what is there; its calls are logged."""
        file = self.bin / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        file.write_text(f'#!{shutil.which("bash")}\necho "$@" >>{self._log(file.name)}\n{script}\n')
        file.chmod(0o755)
        return file

    def called(self, name: str) -> list[str]:
        """Returns what a script was called with, a line each."""
        log = self._log(name)
        return log.read_text().splitlines() if log.exists() else []

    def run(self, code: str, script: str) -> subprocess.CompletedProcess[str]:
        """Runs shell code after reading the functions of one of the project's scripts."""
        return subprocess.run(
            ["bash", "-c", f'source "{self.project}/scripts/{script}"; {code}'],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def _log(self, name: str) -> Path:
        return self.home / f"{name}.log"
