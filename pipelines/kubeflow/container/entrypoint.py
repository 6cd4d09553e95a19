"""The entry point of every TFX step: makes good what TFX and Kubeflow Pipelines expect of each other.

`python -m pipelines.kubeflow.container.entrypoint --executor_class_path CLASS --code_fingerprint HEX …`
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from components import fingerprint
from components.approved_baseline.ledger import LOOKED_FOR, Ledger
from components.errors import InputError, told_in
from pipelines.kubeflow.container import executor_input, failure, finished, in_store, step_key
from pipelines.kubeflow.container.arguments import pair
from pipelines.kubeflow.container.files import write
from pipelines.kubeflow.container.paths import Paths

CODE = ("components", "trainer", "serving", "pipelines.kubeflow.container")
_REUSE = "reuse"

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
    """Runs one step, or takes its outputs from an earlier run, and writes the ExecutorOutput last of all.

    Raises:
        InputError: The image holds other code than the pipeline was compiled from.
        PipelineError: What the step itself says, or the volume with the approvals cannot be used.
    """
    _check_code(options.code_fingerprint)
    message = json.loads(options.json_serialized_invocation_args)
    inputs_spec = json.loads(options.json_serialized_inputs_spec_args)
    paths = Paths.of_launcher(keep_remote=options.keep_remote)
    prepared = executor_input.prepare(message, inputs_spec)
    may_reuse = prepared["inputs"].get("parameterValues", {}).pop(_REUSE, "true") != "false"

    answer = key = steps = None
    if options.finished_steps is not None:
        steps = finished.FinishedSteps(options.finished_steps / options.executor_class_path, paths)
        key = step_key.key(options.executor_class_path, prepared, paths)
        answer = steps.restore(key, prepared) if may_reuse else None
    if answer is None:
        answer = _execute(options, prepared, paths, beam_arguments)
        if steps is not None and key is not None:
            steps.keep(key, answer)
    if options.approves is not None:
        _record_approval(options.approvals, options.approves, prepared, answer, paths)
    write(Path(prepared["outputs"]["outputFile"]), json.dumps(answer))


def _execute(
    options: argparse.Namespace, prepared: dict[str, Any], paths: Paths, beam_arguments: list[str]
) -> dict[str, Any]:
    """Lets TFX run the executor; returns the ExecutorOutput with URIs."""
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_run_executor  # takes ten seconds

    message = executor_input.for_executor(prepared, paths)
    for found in message["outputs"]["artifacts"].values():
        for artifact in found["artifacts"]:
            _empty(artifact["uri"])
    # Beside the file that the launcher reads, because TFX takes its folder for that of the step.
    answer_file = Path(message["outputs"]["outputFile"]).with_name("executor_output.json")
    answer_file.unlink(missing_ok=True)  # of an attempt that was cut short; TFX would take it for a driver's
    message["outputs"]["outputFile"] = str(answer_file)
    arguments = argparse.Namespace(
        executor_class_path=options.executor_class_path,
        json_serialized_invocation_args=json.dumps(message),
        json_serialized_inputs_spec_args=options.json_serialized_inputs_spec_args,
    )
    kubeflow_v2_run_executor.main((arguments, beam_arguments))
    answer = json.loads(answer_file.read_text(encoding="utf-8"))
    answer_file.unlink()
    return executor_input.for_store(answer, paths)


def _empty(output: str) -> None:
    """Prepares an output, without what an attempt or a copy that was cut short has left."""
    if "://" in output:
        in_store.empty(output)
        return
    shutil.rmtree(output, ignore_errors=True)
    Path(output).mkdir(parents=True, exist_ok=True)


def _check_code(compiled: str) -> None:
    built = fingerprint.of_code(*CODE)
    if built != compiled:
        raise InputError(
            f"The image was built from other code ({built[:12]}) than the pipeline was compiled from "
            f"({compiled[:12]}): build it anew with make image, set kubeflow.images to its digests, and "
            "compile again."
        )


def _record_approval(
    approvals: Path, approves: tuple[str, str], prepared: dict[str, Any], answer: dict[str, Any], paths: Paths
) -> None:
    """Records that the step has approved one of its inputs, if an output of it says so."""
    key, ledger = approves
    outputs = [found["artifacts"][0].get("metadata", {}) for found in answer["artifacts"].values()]
    approving = next((metadata for metadata in outputs if metadata.get("blessed") == 1), None)
    if approving is None:
        _log.info("Nothing is approved, and so nothing is recorded in %s.", ledger)
        return
    subject = prepared["inputs"]["artifacts"][key]["artifacts"][0]
    approval = Ledger(approvals / ledger).record(
        paths.downloaded(subject["uri"]),
        subject["uri"],
        executor_input.properties(subject),
        {name: approving[name] for name in LOOKED_FOR if name in approving},
    )
    _log.info("Approved, and recorded in %s as %s.", ledger, approval.id)


def _report(error: BaseException) -> int:
    """Logs what went wrong, the sentence for the user last; returns the exit status."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    if told_in(error) is None:
        _log.error("The step cannot go on.", exc_info=error)
    sentence = failure.sentence(error)
    if sentence is None:
        return 1
    sys.stderr.write(f"\n{sentence}\n")
    return sentence.exit_status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)  # what is unknown here is for Beam
    parser.add_argument("--executor_class_path", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", required=True)
    parser.add_argument("--code_fingerprint", required=True)
    parser.add_argument("--finished_steps", type=Path)
    parser.add_argument("--approvals", type=Path)
    parser.add_argument("--approves", type=pair("INPUT:LEDGER", ":"), metavar="INPUT:LEDGER")
    parser.add_argument("--keep_remote", action="store_true")
    return parser


if __name__ == "__main__":
    main()
