from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Ingested:
    """The output of a run of the ingest executor.

    Attributes:
        examples: Folder of the examples.
        artifact: The Examples artifact.
        counts: `counts.json`.
        rejected: `rejected.csv`, line by line, without the heading.
    """

    examples: Path
    artifact: Any
    counts: dict[str, Any]
    rejected: list[str]

    def features(self, split: str) -> list[dict[str, Any]]:
        """Returns the examples of a split, each as a plain dictionary."""
        import tensorflow as tf

        examples = []
        for record in tf.data.TFRecordDataset(sorted(map(str, (self.examples / f"Split-{split}").iterdir()))):
            example = tf.train.Example.FromString(record.numpy())
            examples.append(
                {
                    name: getattr(feature, feature.WhichOneof("kind")).value[0]
                    for name, feature in example.features.feature.items()
                }
            )
        return examples


@pytest.fixture
def ingest(tmp_path: Path) -> Callable[..., Ingested]:
    """`ingest(source, split=…, max_rejected_fraction=…, max_pixels=…, …)`: runs the executor."""
    from tfx.types.standard_artifacts import Examples

    from components.artifacts import RejectedImages
    from components.image_example_gen.executor import Executor

    def run(
        source: Mapping[str, Any],
        split: Mapping[str, Any] | None = None,
        max_rejected_fraction: float = 0.0,
        max_pixels: int = 1_000_000,
        class_names: Sequence[str] = ("cat", "dog"),
        out: str = "out",
        **more: str,
    ) -> Ingested:
        examples, rejected = Examples(), RejectedImages()
        examples.uri, rejected.uri = str(tmp_path / out / "examples"), str(tmp_path / out / "rejected")
        for artifact in (examples, rejected):
            Path(artifact.uri).mkdir(parents=True)
        arguments = [
            "--runner=FnApiRunner",
            "--direct_running_mode=multi_threading",
            "--direct_num_workers=2",
        ]
        executor = Executor(Executor.Context(beam_pipeline_args=[*arguments, "--sdk_container_image=none"]))
        executor.Do(
            {},
            {"examples": [examples], "rejected": [rejected]},
            {
                "source": json.dumps(source),
                "class_names": json.dumps(list(class_names)),
                "split": json.dumps(split or {"train": 0.8, "eval": 0.1, "test": 0.1, "seed": 0}),
                "max_rejected_fraction": max_rejected_fraction,
                "max_pixels": max_pixels,
                **more,
            },
        )
        return Ingested(
            examples=Path(examples.uri),
            artifact=examples,
            counts=json.loads((Path(rejected.uri) / "counts.json").read_text()),
            rejected=(Path(rejected.uri) / "rejected.csv").read_text().splitlines()[1:],
        )

    return run
