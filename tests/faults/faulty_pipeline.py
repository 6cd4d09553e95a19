"""The real pipeline, with one fault that the environment describes.

`FAULT` is `full` (the disk of the output root fills up) or `kill` (of the process group of the command).
`FAULT_AT` is a node, or the start of one of the Trainer's progress messages. `FAULT_MARK` is a file that is
written at the moment of the fault.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfx import v1 as tfx

from pipelines import pipeline
from pipelines.local import reuse
from pipelines.settings.tree import Settings

_FAULT, _AT = os.environ.get("FAULT", ""), os.environ.get("FAULT_AT", "")


def fill_disk(root: Path) -> None:
    """Shrinks a tmpfs to what it holds, so that nothing more fits."""
    disk = os.statvfs(root)
    used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize
    subprocess.run(["mount", "-o", f"remount,size={used}", str(root)], check=True)


def _kill() -> None:
    os.killpg(os.getppid(), signal.SIGKILL)
    time.sleep(60)  # this process is killed because its parent is dead


def _halve_files(folder: Path) -> None:
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        os.truncate(path, path.stat().st_size // 2)


class _FaultyLauncher(reuse.RecordingLauncher):
    """Fills the disk when a node's executor starts, or halves its outputs and kills the run when it ends."""

    cause: Callable[[], None]

    def launch(self) -> Any:
        is_resolver = self._system_node_handler is not None  # which has no executor
        if self._pipeline_node.node_info.id == _AT and is_resolver:
            self.cause()
        return super().launch()

    def _run_executor(self, execution_info: Any) -> Any:
        if self._pipeline_node.node_info.id == _AT and _FAULT == "full":
            self.cause()
        return super()._run_executor(execution_info)

    def _publish_successful_execution(
        self, execution_id: int, contexts: Any, output_dict: Any, executor_output: Any
    ) -> None:
        if self._pipeline_node.node_info.id == _AT and _FAULT == "kill":
            for artifacts in output_dict.values():
                for artifact in artifacts:
                    _halve_files(Path(artifact.uri))
            self.cause()
        super()._publish_successful_execution(execution_id, contexts, output_dict, executor_output)


class _FaultyProgress(logging.Handler):
    """Causes the fault at a progress message."""

    def __init__(self, cause: Callable[[], None]) -> None:
        super().__init__()
        self._cause = cause

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith(_AT):
            logging.getLogger("catsdogs.progress").removeHandler(self)
            self._cause()


def build(settings: Settings, override: str = "") -> tfx.dsl.Pipeline:
    """Builds the pipeline, and prepares the fault."""

    def cause() -> None:
        Path(os.environ["FAULT_MARK"]).touch()
        if _FAULT == "full":
            fill_disk(settings.output_root)
        else:
            _kill()

    if _FAULT:
        _FaultyLauncher.cause = staticmethod(cause)
        reuse.RecordingLauncher = _FaultyLauncher  # type: ignore[misc]
        logging.getLogger("catsdogs.progress").addHandler(_FaultyProgress(cause))
    return pipeline.build(settings, override=override)
