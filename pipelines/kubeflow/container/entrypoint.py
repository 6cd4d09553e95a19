"""The entry point of every TFX step: makes good what TFX and Kubeflow Pipelines expect of each other.

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

CODE = ("components", "trainer", "serving", "pipelines.kubeflow.container")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_FULL_TEXTS = ("No space left on device", "Disk quota exceeded")  # TensorFlow's errors have no number

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs one step and ends the process with its exit status."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.captureWarnings(True)
    logging.getLogger("apache_beam.typehints").setLevel(
        logging.WARNING
    )  # hundreds of lines about its own code
    options, beam_arguments = _parser().parse_known_args(arguments)
    status = 0
    try:
        run(options, beam_arguments)
    except BaseException as error:  # an executor that calls sys.exit(0) has not finished its step either
        status = _report(error)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # not sys.exit: threads of a library may still be waiting for something that never comes


def run(options: argparse.Namespace, beam_arguments: list[str]) -> None:
    """Runs one step, and records what it approves.

    Raises:
        InputError: The image holds other code than the pipeline was compiled from.
        PipelineError: What the step itself says, or the volume with the approvals cannot be used.
    """
    _check_code(options.code_fingerprint)
    message = json.loads(options.json_serialized_invocation_args)
    inputs_spec = json.loads(options.json_serialized_inputs_spec_args)
    paths = Paths.of_launcher(keep_remote=options.keep_remote)
    prepared = executor_input.prepare(message, inputs_spec)
    _execute(options, prepared, paths, beam_arguments)
    output_file = Path(prepared["outputs"]["outputFile"])
    answer = executor_input.for_store(json.loads(output_file.read_text(encoding="utf-8")), paths)
    if options.approves is not None:
        _record_approval(options.approvals, options.approves, prepared, answer, paths)
    output_file.write_text(json.dumps(answer), encoding="utf-8")


def _execute(
    options: argparse.Namespace, prepared: dict[str, Any], paths: Paths, beam_arguments: list[str]
) -> None:
    """Lets TFX run the executor; the ExecutorOutput that it writes has paths in place of URIs."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor  # takes ten seconds

    message = executor_input.for_executor(prepared, paths)
    for found in message["outputs"]["artifacts"].values():
        for artifact in found["artifacts"]:
            _empty(artifact["uri"])
    arguments = argparse.Namespace(
        executor_class_path=options.executor_class_path,
        json_serialized_invocation_args=json.dumps(message),
        json_serialized_inputs_spec_args=options.json_serialized_inputs_spec_args,
    )
    kubeflow_v2_run_executor.main((arguments, beam_arguments))


def _empty(output: str) -> None:
    """Makes an output's folder, without what an attempt that was cut short has left there."""
    from tfx.dsl.io import fileio  # a store's folder, too, where remote workers write to it

    if fileio.exists(output):
        fileio.rmtree(output)
    fileio.makedirs(output)


def _check_code(compiled: str) -> None:
    built = fingerprint.of_code(*CODE)
    if built != compiled:
        raise InputError(
            f"The image was built from other code ({built[:12]}) than the pipeline was compiled from "
            f"({compiled[:12]}): build it anew with make image, set kubeflow.images to its digests, and "
            "compile again."
        )


def _record_approval(
    approvals: Path, approves: str, prepared: dict[str, Any], answer: dict[str, Any], paths: Paths
) -> None:
    """Records that the step has approved one of its inputs, if an output of it says so."""
    key, _, ledger = approves.partition(":")
    outputs = [found["artifacts"][0].get("metadata", {}) for found in answer["artifacts"].values()]
    approving = next((metadata for metadata in outputs if metadata.get("blessed") == 1), None)
    if approving is None:
        _log.info("Nothing is approved, and so nothing is recorded in %s.", ledger)
        return
    subject = prepared["inputs"]["artifacts"][key]["artifacts"][0]
    approval = ApprovalStore(approvals / ledger).record(
        paths.downloaded(subject["uri"]),
        subject["uri"],
        executor_input.properties(subject),
        {name: approving[name] for name in LOOKUP_PROPERTIES if name in approving},
    )
    _log.info("Approved, and recorded in %s as %s.", ledger, approval.id)


def _report(error: BaseException) -> int:
    """Logs what went wrong, the sentence for the user last; returns the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if find_user_error(error) is None:
        _log.error("The step cannot go on.", exc_info=error)
    sentence = find_user_error(error) or _full_disk(error)
    if sentence is None:
        return 1
    sys.stderr.write(f"\n{sentence}\n")
    return sentence.exit_status


def _full_disk(error: BaseException) -> PipelineError | None:
    """Returns the error for the user where a disk is full somewhere behind an exception; None elsewhere."""
    for link in exception_chain(error):
        if getattr(link, "errno", None) in _FULL or any(text in str(link) for text in _FULL_TEXTS):
            file = getattr(link, "filename", None)
            where = f" for {file}" if file else ""
            return PipelineError(
                f"There is no space left{where}: give the volume with the state more space if the file lies "
                "there, and else the nodes, as the pod's own files (ephemeral storage) lie on their disks."
            )
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)  # what is unknown here is for Beam
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    parser.add_argument("--code_fingerprint", required=True)
    parser.add_argument("--approvals", type=Path)
    parser.add_argument("--approves", metavar="INPUT:LEDGER")
    parser.add_argument("--keep_remote", action="store_true")
    return parser


if __name__ == "__main__":
    main()
