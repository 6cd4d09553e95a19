"""Steps that were finished before, kept on a volume: the same step with the same inputs is not run again.

Kubeflow Pipelines caches too, but its key holds the digest of the image, so that every change of the code
would run everything anew. It lets a step output nothing but what lies in the folder of its own run: hence
outputs are kept, and handed on, as copies.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.metadata
import json
import logging
import os
import platform
import posixpath
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from components import fingerprint
from pipelines.kubeflow.container import own_code
from pipelines.kubeflow.container.paths import Paths

Json = dict[str, Any]

_FORMAT = 1  # another one for a change in how steps are run that changes what they output
_KEPT = 3  # of each step, those used last; the examples of one are as large as the pictures
_ENTRY = "finished.json"
# What the launcher adds to an artifact: names, not contents.
ADDED_BY_LAUNCHER = {"display_name", "store_session_info"}
# Properties that name a function of ours, which the executor calls.
_FUNCTIONS = ("preprocessing_fn", "run_fn")

_log = logging.getLogger(__name__)


def key(executor: str, prepared: Json, paths: Paths) -> str:
    """Returns what determines the outputs of a step, as one text.

    It covers the executor, its code and that of the functions it is given, the installed packages, the
    parameters, and the inputs' files and properties; not their URIs, which are others in every run.

    Args:
        executor: Dotted name of the class.
        prepared: The ExecutorInput of `executor_input.prepare`.
        paths: Where the inputs are.
    """
    inputs, outputs = prepared["inputs"], prepared["outputs"]["artifacts"]
    parameters = inputs.get("parameterValues", {})
    functions = [parameters[name] for name in _FUNCTIONS if name in parameters]
    ingredients = {
        "format": _FORMAT,
        "executor": executor,
        "code": own_code.fingerprint_behind([executor, *functions]),
        "environment": _environment(),
        "parameters": parameters,
        "inputs": {
            name: [_identity(artifact, paths) for artifact in found["artifacts"]]
            for name, found in inputs["artifacts"].items()
        },
        "outputs": {name: found["artifacts"][0]["type"] for name, found in outputs.items()},
    }
    return hashlib.sha256(json.dumps(ingredients, sort_keys=True).encode()).hexdigest()


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
            step_key: See `key`.
            prepared: The ExecutorInput of this execution.

        Returns:
            The ExecutorOutput for this execution; None where there was no such execution, or, with a warning,
            where what was kept of it is damaged.
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
            os.utime(entry)  # used last, removed last
        except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
            _log.warning(
                "What was kept of this step in %s cannot be used (%s: %s): the step runs again.",
                entry,
                type(error).__name__,
                error,
            )
            shutil.rmtree(entry, ignore_errors=True)
            return None
        _log.info("Nothing that this step depends on has changed: its outputs are taken from %s.", entry)
        return answer

    def keep(self, step_key: str, answer: Json) -> None:
        """Keeps a finished execution; where that is not possible, says so in the log, as nothing is lost.

        Args:
            step_key: See `key`.
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
            return {"uri": uri, "sizes": _sizes_in_store(uri)}
        source = self._paths.downloaded(uri)
        if not source.exists():  # an artifact of properties alone
            return {}
        shutil.copytree(source, target)
        return {"contents": fingerprint.of_folder(target)}

    def _copy_back(self, kept: Path, output: Json, uri: str) -> None:
        if "uri" in output:
            if _sizes_in_store(output["uri"]) != output["sizes"]:
                raise ValueError(f"the files in {output['uri']} have changed")
            _copy_in_store(output["uri"], uri, output["sizes"])
        elif "contents" in output:
            target = self._paths.downloaded(uri)
            shutil.rmtree(target, ignore_errors=True)  # of an attempt that was cut short
            shutil.copytree(kept, target)
            if fingerprint.of_folder(target) != output["contents"]:
                shutil.rmtree(target)
                raise ValueError(f"the files of {kept.name} have changed")

    def _drop_old(self) -> None:
        entries = sorted(self._folder.glob("[!.]*"), key=lambda entry: entry.stat().st_mtime)
        for entry in entries[:-_KEPT]:
            going = entry.with_name(f".{entry.name}-{uuid.uuid4().hex}")
            entry.rename(going)
            shutil.rmtree(going, ignore_errors=True)


def _sizes_in_store(uri: str) -> dict[str, int]:
    """Returns the names of the files of an artifact that is elsewhere, with their sizes in bytes."""
    import tensorflow as tf  # takes seconds, and knows the store

    with _os_error():
        return {
            posixpath.relpath(path, uri): tf.io.gfile.stat(path).length
            for folder, _, names in tf.io.gfile.walk(uri)
            for path in (posixpath.join(folder, name) for name in names)
        }


def _copy_in_store(source: str, target: str, names: Iterable[str]) -> None:
    import tensorflow as tf

    with _os_error():
        for name in names:
            copied = posixpath.join(target, name)
            tf.io.gfile.makedirs(posixpath.dirname(copied))
            tf.io.gfile.copy(posixpath.join(source, name), copied, overwrite=True)


@contextmanager
def _os_error() -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(error.message) from error


def _identity(artifact: Json, paths: Paths) -> Json:
    """Returns what tells an input from another one."""
    folder = paths.downloaded(artifact["uri"])
    metadata = artifact.get("metadata", {})
    return {
        "type": artifact["type"],
        "contents": fingerprint.of_folder(folder) if folder.exists() else artifact["uri"],
        "metadata": {name: value for name, value in metadata.items() if name not in ADDED_BY_LAUNCHER},
    }


@cache
def _environment() -> list[str]:
    """Returns the versions of Python and of all that is installed."""
    installed = {f"{found.name}=={found.version}" for found in importlib.metadata.distributions()}
    return [platform.python_version(), *sorted(installed)]
