"""Runs in the container: ingests /data on the Beam worker pool at the address given as argument."""

import json
import sys

import grpc
from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor
from tfx.types.standard_artifacts import Examples

from components.artifacts import RejectedImages
from components.image_example_gen.executor import Executor

grpc.channel_ready_future(grpc.insecure_channel(sys.argv[1])).result(timeout=120)  # the pool may be starting

examples, rejected = Examples(), RejectedImages()
examples.uri, rejected.uri = "/minio/examples", "/minio/rejected"
beam_arguments = [
    *("--runner=PortableRunner", "--job_endpoint=embed"),
    *("--environment_type=EXTERNAL", f"--environment_config={sys.argv[1]}"),
    "--sdk_container_image=none",  # otherwise TFX packages its own source for the worker
]
Executor(BaseBeamExecutor.Context(beam_pipeline_args=beam_arguments, tmp_dir="/tmp/tfx")).Do(
    {},
    {"examples": [examples], "rejected": [rejected]},
    {
        "source": json.dumps({"kind": "folder", "folder": "/data"}),
        "class_names": json.dumps(["cat", "dog"]),
        "split": json.dumps({"train": 0.8, "eval": 0.1, "test": 0.1, "seed": 0}),
        "max_rejected_fraction": 0.0,
        "max_pixels": 50_000_000,
    },
)
