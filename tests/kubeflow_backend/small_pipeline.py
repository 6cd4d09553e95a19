"""A pipeline of two tasks in plain Python: `Words` writes a text, `Count` counts its letters."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

IMAGE = "registry.example/small@sha256:" + "0" * 64

_WORDS = """
import json, pathlib, sys
text, whole, where = sys.argv[1:]
print("writing", text)
pathlib.Path(where).write_text(text)
metadata = {"length": len(text), "plain": text.isascii(), "kinds": ["a", "b"], "of": {"x": 1}}
said = {"artifacts": {"words": {"artifacts": [{"metadata": metadata}]}}}
pathlib.Path(json.loads(whole)["outputs"]["outputFile"]).write_text(json.dumps(said))
"""
_COUNT = """
import json, pathlib, sys
whole, where, result = sys.argv[1:]
given = json.loads(whole)
[artifact] = given["inputs"]["artifacts"]["words"]["artifacts"]
pathlib.Path(result).write_text(str(len(pathlib.Path(where).read_text())))
print(json.dumps({"type": artifact["type"], "metadata": artifact["metadata"]}))
"""


def small_pipeline() -> dict[str, Any]:
    """Returns the pipeline document, free to be changed."""
    return copy.deepcopy(_PIPELINE)


def write(folder: Path, *documents: dict[str, Any]) -> Path:
    """Writes a pipeline file."""
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump_all(documents))
    return file


_PIPELINE: dict[str, Any] = {
    "schemaVersion": "2.1.0",
    "sdkVersion": "by-hand",
    "pipelineInfo": {"name": "small"},
    "defaultPipelineRoot": "minio://mlpipeline/v2/artifacts",
    "root": {
        "inputDefinitions": {
            "parameters": {"text": {"parameterType": "STRING", "defaultValue": "Katze & Hund"}}
        },
        "dag": {
            "tasks": {
                "Words": {
                    "taskInfo": {"name": "Words"},
                    "componentRef": {"name": "words"},
                    "cachingOptions": {"enableCache": True},
                    "inputs": {"parameters": {"text": {"componentInputParameter": "text"}}},
                },
                "Count": {
                    "taskInfo": {"name": "Count"},
                    "componentRef": {"name": "count"},
                    "cachingOptions": {"enableCache": True},
                    "inputs": {
                        "artifacts": {
                            "words": {
                                "taskOutputArtifact": {"producerTask": "Words", "outputArtifactKey": "words"}
                            }
                        }
                    },
                },
            }
        },
    },
    "components": {
        "words": {
            "executorLabel": "words",
            "inputDefinitions": {"parameters": {"text": {"parameterType": "STRING"}}},
            "outputDefinitions": {
                "artifacts": {
                    "words": {"artifactType": {"instanceSchema": "title: small.Words\ntype: object\n"}}
                }
            },
        },
        "count": {
            "executorLabel": "count",
            "inputDefinitions": {
                "artifacts": {
                    "words": {"artifactType": {"instanceSchema": "title: small.Words\ntype: object\n"}}
                }
            },
            "outputDefinitions": {"parameters": {"letters": {"parameterType": "NUMBER_INTEGER"}}},
        },
    },
    "deploymentSpec": {
        "executors": {
            "words": {
                "container": {
                    "image": IMAGE,
                    "command": ["python", "-c", _WORDS],
                    "args": [
                        "{{$.inputs.parameters['text']}}",
                        "{{$}}",
                        "{{$.outputs.artifacts['words'].path}}",
                    ],
                }
            },
            "count": {
                "container": {
                    "image": IMAGE,
                    "command": ["python", "-c", _COUNT],
                    "args": [
                        "{{$}}",
                        "{{$.inputs.artifacts['words'].path}}",
                        "{{$.outputs.parameters['letters'].output_file}}",
                    ],
                }
            },
        }
    },
}
