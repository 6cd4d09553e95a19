"""The steps that look at the outside world, in every run anew; they are light, and their answers are texts.

`… look data-fingerprint --source JSON --class_names JSON --output FILE [--source_name_output FILE]`
`… look approved --approvals DIR --ledger NAME --candidate URI [--where NAME=VALUE]
    [--hand_on_missing] --output FILE`
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

_log = logging.getLogger(__name__)


def main(arguments: Sequence[str] | None = None) -> int:
    """Looks, writes the answer to files, and returns the exit status."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    started = time.monotonic()
    options = _parser().parse_args(arguments)
    try:
        options.look(options)
    except PipelineError as error:
        sys.stderr.write(f"\n{error}\n")
        return error.exit_status
    _log.info("Looked in %.1f s.", time.monotonic() - started)
    return 0


def data_fingerprint(options: argparse.Namespace) -> None:
    """Writes a text that changes whenever the pictures do, and what the source is called.

    Raises:
        InputError: The source cannot be used.
    """
    folder = options.source.get("folder")
    if folder is not None and not Path(folder).exists():
        raise InputError(
            f"The folder {folder} is not there in the pod: mount the claim that holds the pictures with "
            "kubeflow.volumes, or correct data.folder."
        )
    found = open_source(options.source, options.class_names).fingerprint()
    _log.info("The fingerprint of the data is %s.", found)
    if options.source_name_output:
        options.source_name_output.write_text(source_name(options.source), encoding="utf-8")
    options.output.write_text(found, encoding="utf-8")


def approved(options: argparse.Namespace) -> None:
    """Writes the newest approval of another subject than the candidate as a text, or nothing.

    Asked to hand on what is missing, it tells of an approval whose files are gone, without them. That is told
    here and not where it is copied, because a cache keeps what is put out there.

    Raises:
        PipelineError: The candidate is not there any more, or an approval cannot be read.
    """
    candidate = Paths.of_launcher().downloaded(options.candidate)
    # The launcher downloads what it finds, be it nothing. An approval of the candidate itself would not be
    # recognised then, and it would be compared with itself.
    if not any(path.is_file() for path in candidate.rglob("*")):
        raise PipelineError(
            f"The artifact {options.candidate} of an earlier run was removed from the store, and KFP's cache "
            "still points to it: let no life cycle of the bucket remove artifacts; to go on, commit a change "
            "of the code, make image, compile and submit, because a new image makes new artifacts."
        )
    ledger = ApprovalStore(options.approvals / options.ledger)
    where = dict(condition.split("=", 1) for condition in options.where)
    approval = ledger.newest(fingerprint.of_folder(candidate), where)
    _log.info("The last one is %s.", f"{approval.uri}, of {approval.id}" if approval else "none")
    if approval and options.hand_on_missing and not Path(approval.files).exists():
        _log.warning("Its files are gone from %s.", approval.files)
        approval = replace(approval, files="")
    options.output.write_text(approval.text() if approval else "", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    looks = parser.add_subparsers(required=True)

    data = looks.add_parser("data-fingerprint", allow_abbrev=False)
    data.set_defaults(look=data_fingerprint)
    data.add_argument("--source", type=json.loads, required=True)
    data.add_argument("--class_names", type=json.loads, required=True)
    data.add_argument("--output", type=Path, required=True)
    data.add_argument("--source_name_output", type=Path)

    baseline = looks.add_parser("approved", allow_abbrev=False)
    baseline.set_defaults(look=approved)
    baseline.add_argument("--approvals", type=Path, required=True)
    baseline.add_argument("--ledger", required=True)
    baseline.add_argument("--candidate", required=True)
    baseline.add_argument("--where", action="append", default=[], metavar="NAME=VALUE")
    baseline.add_argument("--hand_on_missing", action="store_true")
    baseline.add_argument("--output", type=Path, required=True)
    return parser


if __name__ == "__main__":
    sys.exit(main())
