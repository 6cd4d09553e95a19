"""Runs the lookup task: it reads the data's fingerprint and the newest approvals in every run.

`python -m pipelines.kubeflow.container.lookup --executor_input JSON --class_names JSON --approvals DIR
    --keys JSON`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from components.errors import InputError, PipelineError
from components.image_example_gen.sources import open_source, source_name
from pipelines.kubeflow.container import baselines
from pipelines.kubeflow.container.transient import run_with_retries
from serving.printable import log_printable_lines, printable_lines

DATA_FINGERPRINT, SOURCE_NAME = "data_fingerprint", "source_name"

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the lookup, writes its outputs, and returns the exit status."""
    log_printable_lines()
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    message = options.executor_input
    try:
        source = json.loads(message["inputs"]["parameterValues"]["source"])
        outputs = run_with_retries(  # the source may download a data set
            partial(look_up, source, options.class_names, options.approvals, options.keys)
        )
    except PipelineError as error:
        sys.stderr.write(f"\n{printable_lines(error)}\n")
        return error.exit_status
    for name, value in outputs.items():
        _log.info("%s: %s", name, value)
    output_file = Path(message["outputs"]["outputFile"])
    output_file.parent.mkdir(parents=True, exist_ok=True)
    output_file.write_text(json.dumps({"parameterValues": outputs}), encoding="utf-8")
    _log.info("The lookup took %.1f s.", time.monotonic() - started)
    return 0


def look_up(
    source: dict[str, object], class_names: list[str], approvals: Path, keys: dict[str, str]
) -> dict[str, str]:
    """Returns the outputs of the lookup task by name.

    Args:
        source: The data source.
        class_names: The class names.
        approvals: Folder of the approval stores.
        keys: For each kind of approval, a text that changes with the settings and the code.

    Raises:
        InputError: The source cannot be used.
        PipelineError: An approval cannot be read.
    """
    folder = source.get("folder")
    if isinstance(folder, str) and not Path(folder).exists():
        raise InputError(
            f"The folder {folder} does not exist in the pod: mount the claim that holds the images with "
            "kubeflow.volumes, or correct data.folder."
        )
    data_fingerprint = open_source(source, class_names).fingerprint()
    outputs = {DATA_FINGERPRINT: data_fingerprint, SOURCE_NAME: source_name(source)}
    for name, key in keys.items():
        outputs[name] = hashlib.sha256(f"{key} {data_fingerprint}".encode()).hexdigest()[:16]
    for baseline in baselines.BASELINES:
        outputs[baseline.name] = baselines.cache_parameter(
            baseline, approvals, outputs[SOURCE_NAME], outputs[baseline.kind.key]
        )
    return outputs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--executor_input", type=json.loads, required=True)
    parser.add_argument("--class_names", type=json.loads, required=True)
    parser.add_argument("--approvals", type=Path, required=True)
    parser.add_argument("--keys", type=json.loads, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
