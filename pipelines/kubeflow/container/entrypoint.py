"""Runs a TFX executor in a Kubeflow task, translating between the messages of KFP and of TFX.

`python -m pipelines.kubeflow.container.entrypoint --executor_class_path CLASS --code_fingerprint HEX …`
"""

from __future__ import annotations

import argparse
import errno
import json
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from components import fingerprint
from components.approvals.store import LOOKUP_PROPERTIES, ApprovalStore
from components.errors import InputError, PipelineError, exception_chain, find_user_error
from pipelines.kubeflow.container import executor_input
from pipelines.kubeflow.container.paths import Paths
from pipelines.kubeflow.container.transient import run_with_retries
from serving.printable import log_printable_lines, printable_lines

CODE = ("components", "trainer", "serving", "pipelines.kubeflow.container")
_FULL_DISK = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")  # TensorFlow's errors have no number

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one task and ends the process with its exit status."""
    log_printable_lines()
    logging.captureWarnings(True)
    logging.getLogger("apache_beam.typehints").setLevel(
        logging.WARNING
    )  # it logs hundreds of lines about its own code
    options, beam_arguments = _parser().parse_known_args(arguments)
    status = 0
    try:
        run_with_retries(lambda: run(options, beam_arguments))
    except BaseException as error:  # an executor that calls sys.exit(0) has failed, too
        status = _report(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # not sys.exit, which waits for library threads that may never end


def run(options: argparse.Namespace, beam_arguments: list[str]) -> None:
    """Runs one task and records what it approves.

    Raises:
        InputError: The image holds other code than the pipeline was compiled from.
        PipelineError: The executor failed, or the volume with the approvals cannot be used.
    """
    _check_code(options.code_fingerprint)
    message = json.loads(options.json_serialized_invocation_args)
    inputs_spec = json.loads(options.json_serialized_inputs_spec_args)
    paths = Paths.from_environment(keep_remote=options.keep_remote)
    prepared = executor_input.normalize_executor_input(message, inputs_spec)
    _execute(options, prepared, paths, beam_arguments)
    output_file = Path(prepared["outputs"]["outputFile"])
    executor_output = executor_input.with_uris(json.loads(output_file.read_text(encoding="utf-8")), paths)
    if options.approves is not None:
        _record_approval(options.approvals, options.approves, prepared, executor_output, paths)
    output_file.write_text(json.dumps(executor_output), encoding="utf-8")


def _execute(
    options: argparse.Namespace, prepared: dict[str, Any], paths: Paths, beam_arguments: list[str]
) -> None:
    """Runs the executor with TFX, which writes an ExecutorOutput that has local paths instead of URIs."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor  # takes ten seconds

    message = executor_input.with_local_paths(prepared, paths)
    for output in message["outputs"]["artifacts"].values():
        for artifact in output["artifacts"]:
            _make_empty(artifact["uri"])
    arguments = argparse.Namespace(
        executor_class_path=options.executor_class_path,
        json_serialized_invocation_args=json.dumps(message),
        json_serialized_inputs_spec_args=options.json_serialized_inputs_spec_args,
    )
    kubeflow_v2_run_executor.main((arguments, beam_arguments))


def _make_empty(folder: str) -> None:
    """Creates an empty output folder and removes files that a killed attempt left there."""
    from tfx.dsl.io import fileio  # also handles gs:// folders, which remote workers write to

    if fileio.exists(folder):
        fileio.rmtree(folder)
    fileio.makedirs(folder)


def _check_code(compiled: str) -> None:
    built = fingerprint.of_code(*CODE)
    if built != compiled:
        raise InputError(
            f"The container image was built from different code ({built[:12]}) than the pipeline "
            f"({compiled[:12]}): build the images with make image, set kubeflow.images to their digests, and "
            "compile again."
        )


def _record_approval(
    approvals: Path, approves: str, prepared: dict[str, Any], executor_output: dict[str, Any], paths: Paths
) -> None:
    """Records the approval of one of the task's inputs if one of its outputs has `blessed` = 1."""
    key, _, store = approves.partition(":")
    outputs = [output["artifacts"][0].get("metadata", {}) for output in executor_output["artifacts"].values()]
    blessed = next((metadata for metadata in outputs if metadata.get("blessed") == 1), None)
    if blessed is None:
        _log.info("Nothing was approved, so nothing is recorded in %s.", store)
        return
    subject = prepared["inputs"]["artifacts"][key]["artifacts"][0]
    approval = ApprovalStore(approvals / store).record(
        paths.local_path(subject["uri"]),
        subject["uri"],
        executor_input.properties(subject),
        {name: blessed[name] for name in LOOKUP_PROPERTIES if name in blessed},
    )
    _log.info("Recorded the approval in %s as %s.", store, approval.id)


def _report(error: BaseException) -> int:
    """Logs the error, with the message for the user last, and returns the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if find_user_error(error) is None:
        _log.error("The task failed.", exc_info=error)
    user_error = find_user_error(error) or _full_disk(error)
    if user_error is None:
        return 1
    sys.stderr.write(f"\n{printable_lines(user_error)}\n")
    return user_error.exit_status


def _full_disk(error: BaseException) -> PipelineError | None:
    """Returns an error for the user if a full disk caused the exception; otherwise None."""
    for cause in exception_chain(error):
        if getattr(cause, "errno", None) in _FULL_DISK or any(text in str(cause) for text in _FULL_TEXTS):
            file = getattr(cause, "filename", None)
            where = f" for {file}" if file else ""
            return PipelineError(
                f"There is no space left{where}: enlarge the state volume if the file is there; otherwise "
                "enlarge the nodes' disks, which hold the pod's own files (ephemeral storage)."
            )
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)  # unknown arguments are passed to Beam
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    parser.add_argument("--code_fingerprint", required=True)
    parser.add_argument("--approvals", type=Path)
    parser.add_argument("--approves", metavar="INPUT:STORE")
    parser.add_argument("--keep_remote", action="store_true")
    return parser


if __name__ == "__main__":
    main()
