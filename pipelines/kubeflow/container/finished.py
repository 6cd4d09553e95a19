"""Steps that were finished before, kept on a volume: the same step with the same inputs is not run again.

Kubeflow Pipelines caches too, but its key holds the digest of the image, so that every change of the code
would run everything anew. It lets a step output nothing but what lies in the folder of its own run: hence
outputs are kept, and handed on, as copies.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

from components import fingerprint, leftovers
from pipelines.kubeflow.container import in_store
from pipelines.kubeflow.container.paths import Paths

Json = dict[str, Any]

_KEPT = 3  # of each step, those used last; the examples of one are as large as the pictures
_ENTRY = "finished.json"

_log = logging.getLogger(__name__)


class FinishedSteps:
    """The finished executions of one step, one folder each; they appear whole or not at all.

    Args:
        folder: Where they are; made when needed.
        paths: Where this execution's outputs belong.
    """

    def __init__(self, folder: Path, paths: Paths) -> None:
        self._folder = folder
        self._paths = paths

    def restore(self, step_key: str, prepared: Json) -> Json | None:
        """Writes the outputs of an earlier execution to those of this one.

        Args:
            step_key: See `step_key.key`.
            prepared: The ExecutorInput of this execution.

        Returns:
            The ExecutorOutput for this execution; None where there was no such execution, or, with a warning,
            where what was kept of it is damaged or cannot be read or written now. Outputs may hold a part of
            it then.
        """
        entry = self._folder / step_key
        if not entry.is_dir():
            return None
        try:
            finished = json.loads((entry / _ENTRY).read_text(encoding="utf-8"))
            answer: Json = finished["answer"]
            for name, found in answer.get("artifacts", {}).items():
                artifact = found["artifacts"][0]
                artifact["uri"] = prepared["outputs"]["artifacts"][name]["artifacts"][0]["uri"]
                self._copy_back(entry / name, finished["outputs"][name], artifact["uri"])
        # Nothing is removed: the error may be the pod's own, and what the step outputs now takes its place.
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            _log.warning(
                "What was kept of this step in %s cannot be used (%s: %s): the step runs again.",
                entry,
                type(error).__name__,
                error,
            )
            return None
        with suppress(OSError):  # the volume may be another user's
            os.utime(entry)  # used last, removed last
        _log.info("Nothing that this step depends on has changed: its outputs are taken from %s.", entry)
        return answer

    def keep(self, step_key: str, answer: Json) -> None:
        """Keeps a finished execution; where that is not possible, says so in the log, as nothing is lost.

        Args:
            step_key: See `step_key.key`.
            answer: The ExecutorOutput, with URIs.
        """
        beside = self._folder / f".{step_key}-{uuid.uuid4().hex}"
        try:
            beside.mkdir(parents=True)
            outputs = {
                name: self._copy(found["artifacts"][0]["uri"], beside / name)
                for name, found in answer.get("artifacts", {}).items()
            }
            entry = json.dumps({"answer": answer, "outputs": outputs}, sort_keys=True, indent=1)
            (beside / _ENTRY).write_text(entry + "\n", encoding="utf-8")
            # What may be there is replaced: this run was asked to take nothing over.
            shutil.rmtree(self._folder / step_key, ignore_errors=True)
            beside.rename(self._folder / step_key)
            leftovers.sweep(self._folder)
            self._drop_old()
        except OSError as error:  # shutil's own errors are OSErrors too
            if error.errno in (errno.EEXIST, errno.ENOTEMPTY):  # another run was quicker
                return
            _log.warning(
                "The finished step cannot be kept in %s (%s), and may have to run again: make the volume "
                "writable for the user of the pods, or give it more space.",
                self._folder,
                error.strerror or error,
            )
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def _copy(self, uri: str, target: Path) -> Json:
        """Copies an output to the volume; what remote workers have written stays in its store."""
        if self._paths.for_executor(uri) == uri:
            return {"uri": uri, "sizes": in_store.sizes(uri)}
        source = self._paths.downloaded(uri)
        if not source.exists():  # an artifact of properties alone
            return {}
        shutil.copytree(source, target)
        return {"contents": fingerprint.of_folder(target)}

    def _copy_back(self, kept: Path, output: Json, uri: str) -> None:
        if "uri" in output:
            if in_store.sizes(output["uri"]) != output["sizes"]:
                raise ValueError(f"the files in {output['uri']} have changed")
            if output["uri"] != uri:  # else this is another attempt at the task that has written it
                in_store.copy(output["uri"], uri, output["sizes"])
        elif "contents" in output:
            target = self._paths.downloaded(uri)
            shutil.rmtree(target, ignore_errors=True)  # of an attempt that was cut short
            shutil.copytree(kept, target)
            if fingerprint.of_folder(target) != output["contents"]:
                shutil.rmtree(target)
                raise ValueError(f"the files of {kept.name} have changed")

    def _drop_old(self) -> None:
        entries = sorted(self._folder.glob("[!.]*"), key=_last_used)
        for entry in entries[:-_KEPT]:
            going = entry.with_name(f".{entry.name}-{uuid.uuid4().hex}")
            with suppress(FileNotFoundError):  # another run was quicker
                entry.rename(going)
            shutil.rmtree(going, ignore_errors=True)


def _last_used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:  # another run has removed it
        return 0
