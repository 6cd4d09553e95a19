"""A small compiled pipeline, in the form of the real one: three steps, seven parameters, two volumes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

STEPS = ("ImageExampleGen", "Trainer", "Pusher")

SPEC: dict[str, Any] = {
    "pipelineInfo": {"name": "catsdogs"},
    "schemaVersion": "2.1.0",
    "sdkVersion": "tfx-1.21.0",
    "defaultPipelineRoot": "minio://mlpipeline/v2/artifacts?endpoint=http://minio:9000",
    "root": {
        "inputDefinitions": {
            "parameters": {
                "source": {
                    "parameterType": "STRING",
                    "defaultValue": '{"folder": "/data", "kind": "folder"}',
                },
                "max_rejected_fraction": {"parameterType": "NUMBER_DOUBLE", "defaultValue": 0.01},
                "epochs": {"parameterType": "NUMBER_INTEGER", "defaultValue": 2},
                "augment": {"parameterType": "BOOLEAN", "defaultValue": True},
                "layers": {"parameterType": "LIST", "defaultValue": [1]},
                "override": {"parameterType": "STRING", "defaultValue": ""},
            }
        },
        "dag": {
            "tasks": {
                "Pusher": {"componentRef": {"name": "Pusher"}, "dependentTasks": ["Trainer"]},
                "ImageExampleGen": {"componentRef": {"name": "ImageExampleGen"}},
                "Trainer": {
                    "componentRef": {"name": "Trainer"},
                    "dependentTasks": ["ImageExampleGen"],
                    "cachingOptions": {"enableCache": True},
                },
            }
        },
    },
    "components": {step: {"executorLabel": f"{step}_executor"} for step in STEPS},
    "deploymentSpec": {
        "executors": {
            f"{step}_executor": {"container": {"image": "example.com/catsdogs", "command": ["python"]}}
            for step in STEPS
        }
    },
}
PLATFORM: dict[str, Any] = {
    "platforms": {
        "kubernetes": {
            "deploymentSpec": {
                "executors": {
                    f"{step}_executor": {
                        "pvcMount": [
                            {"constant": "catsdogs-state", "mountPath": "/state"},
                            {"constant": "catsdogs-pictures", "mountPath": "/data"},
                        ]
                    }
                    for step in STEPS
                }
            }
        }
    }
}


def write(path: Path, *, platform: bool = True, **changes: Any) -> Path:
    """Writes the package; changes replace keys of its first document."""
    spec = copy.deepcopy(SPEC) | changes
    path.write_text(yaml.safe_dump_all([spec, PLATFORM] if platform else [spec]))
    return path
