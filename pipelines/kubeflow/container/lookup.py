"""Runs the lookup tasks: they read the data's fingerprint and the newest approvals in every run.

`… lookup data-fingerprint --source JSON --class_names JSON --output FILE [--source_name_output FILE]`
`… lookup approved --approvals DIR --store NAME --candidate URI [--where NAME=VALUE]
    [--include_missing] --output FILE`
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from components import fingerprint
from components.approvals.store import ApprovalStore
from components.errors import InputError, PipelineError
from components.image_example_gen.sources import open_source, source_name
from pipelines.kubeflow.container.paths import Paths
from serving.printable import log_printable_lines, printable_lines

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one lookup, writes its outputs to files, and returns the exit status."""
    log_printable_lines()
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    try:
        options.lookup(options)
    except PipelineError as error:
        sys.stderr.write(f"\n{printable_lines(error)}\n")
        return error.exit_status
    _log.info("The lookup took %.1f s.", time.monotonic() - started)
    return 0


def write_data_fingerprint(options: argparse.Namespace) -> None:
    """Writes a fingerprint that changes whenever the images change, and the name of the source.

    Raises:
        InputError: The source cannot be used.
    """
    folder = options.source.get("folder")
    if folder is not None and not Path(folder).exists():
        raise InputError(
            f"The folder {folder} does not exist in the pod: mount the claim that holds the images with "
            "kubeflow.volumes, or correct data.folder."
        )
    data_fingerprint = open_source(options.source, options.class_names).fingerprint()
    _log.info("The fingerprint of the data is %s.", data_fingerprint)
    if options.source_name_output:
        options.source_name_output.write_text(source_name(options.source), encoding="utf-8")
    options.output.write_text(data_fingerprint, encoding="utf-8")


def write_newest_approval(options: argparse.Namespace) -> None:
    """Writes the newest approval of a subject other than the candidate as text; empty if there is none.

    With `--include_missing`, an approval whose files no longer exist is written without their path. This is
    checked here, not in the task that copies the files, because that task is cached.

    Raises:
        PipelineError: The candidate no longer exists, or an approval cannot be read.
    """
    candidate = Paths.from_environment().local_path(options.candidate)
    # The launcher does not fail if the artifact is missing. Without its files, an approval of the candidate
    # itself would not be recognised, and the candidate would be compared with itself.
    if not any(path.is_file() for path in candidate.rglob("*")):
        raise PipelineError(
            f"The artifact {options.candidate} of an earlier run was removed from the store, but KFP's cache "
            "still refers to it: disable life cycle rules that delete artifacts; to continue, commit a code "
            "change, then make image, compile and submit, because a new image has new cache keys."
        )
    store = ApprovalStore(options.approvals / options.store)
    where = dict(condition.split("=", 1) for condition in options.where)
    approval = store.newest(fingerprint.of_folder(candidate), where)
    _log.info("The newest approval is %s.", f"{approval.id} of {approval.uri}" if approval else "none")
    if approval and options.include_missing and not Path(approval.files).exists():
        _log.warning("Its files no longer exist in %s.", approval.files)
        approval = replace(approval, files="")
    options.output.write_text(approval.text() if approval else "", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    lookups = parser.add_subparsers(required=True)

    data = lookups.add_parser("data-fingerprint", allow_abbrev=False)
    data.set_defaults(lookup=write_data_fingerprint)
    data.add_argument("--source", type=json.loads, required=True)
    data.add_argument("--class_names", type=json.loads, required=True)
    data.add_argument("--output", type=Path, required=True)
    data.add_argument("--source_name_output", type=Path)

    baseline = lookups.add_parser("approved", allow_abbrev=False)
    baseline.set_defaults(lookup=write_newest_approval)
    baseline.add_argument("--approvals", type=Path, required=True)
    baseline.add_argument("--store", required=True)
    baseline.add_argument("--candidate", required=True)
    baseline.add_argument("--where", action="append", default=[], metavar="NAME=VALUE")
    baseline.add_argument("--include_missing", action="store_true")
    baseline.add_argument("--output", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
