"""One pipeline name, one pair of classes: a model for others must not take the served model's place."""

from __future__ import annotations

import json

import yaml

from components.errors import InputError
from pipelines.settings import Settings


def check_classes(settings: Settings) -> None:
    """Compares the classes with those of the last run that pushed a model under this name.

    Raises:
        InputError: They are others.
    """
    for run_dir in sorted(settings.runs_dir.glob("*"), reverse=True):
        try:
            summary = json.loads((run_dir / "summary.json").read_text(encoding="utf-8"))
            earlier = yaml.safe_load((run_dir / "settings.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            continue  # a run that was killed
        pushed = (summary.get("outcome") or {}).get("push")
        if not pushed or earlier["pipeline_name"] != settings.pipeline_name:
            continue
        before, now = earlier["data"]["class_names"], list(settings.data.class_names)
        if before != now:
            raise InputError(
                f"The pipeline {settings.pipeline_name!r} in {settings.output_root} serves a model for "
                f"{' and '.join(before)}, and data.class_names is now [{', '.join(now)}]: give the new one "
                f"a name of its own (--set pipeline_name={'-'.join(now).lower().replace('_', '-')}), or "
                "another --set output_root=DIR."
            )
        return
