"""A real TFX pipeline of five quick steps, with artifacts, verdicts and a push like the real one's.

`TINY_FAULT=Step:what` in the environment makes a step misbehave; see `_misbehave`.
"""

# ruff: noqa: N802  (components are named like classes)

import errno
import json
import logging
import os
import signal
import time
from pathlib import Path

import apache_beam as beam
from tfx import v1 as tfx
from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types.standard_artifacts import Examples, Model, ModelBlessing, PushedModel

from components.errors import DataRejected, InputError
from components.quality_gate import verdict
from components.quality_gate.verdict import Override, Rule, Verdict
from pipelines.settings.tree import Settings

_progress = logging.getLogger("catsdogs.progress")


def _misbehave(step: str) -> None:
    faulty, _, what = os.environ.get("TINY_FAULT", "").partition(":")
    if faulty != step:
        return
    if what == "raise":
        raise ValueError("the cat sat\non the mat")
    if what == "input":
        raise InputError("The folder is empty: put images into it.")
    if what == "rejected":
        raise DataRejected("Half of the labels are missing: check them.")
    if what == "beam":
        with beam.Pipeline(argv=["--runner=FnApiRunner"]) as pipeline:
            _ = pipeline | beam.Create([1]) | beam.Map(_reject)
    if what == "beam on a full disk":
        for fd in (1, 2):  # the log
            os.dup2(os.open("/dev/full", os.O_WRONLY), fd)
        threads = ["--direct_running_mode=multi_threading", "--direct_num_workers=2"]
        with beam.Pipeline(argv=["--runner=FnApiRunner", *threads]) as pipeline:
            _ = pipeline | beam.Create([1]) | beam.Map(_write_to_full_disk)
    if what == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if what == "interrupt":
        raise KeyboardInterrupt
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "hang":
        _hang()
    if what == "hang and wrap":
        try:
            _hang()
        except BaseException as error:
            raise RuntimeError("the bundle failed") from error  # as libraries do with what they catch


def _hang() -> None:
    _progress.info("hanging")
    os.system("sleep 3000 &")  # a child of the child
    time.sleep(3000)


def _reject(_: int) -> None:
    raise DataRejected("Half of the labels are missing: check them.")


def _write_to_full_disk(_: int) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@component
def Ingest(examples: OutputArtifact[Examples], count: Parameter[int]) -> None:
    _progress.info("%d of %d images", count, count)
    print("a warning from somewhere deep")
    os.write(2, b"a warning from C++\n")
    Path(examples.uri, "examples").write_text(str(count))
    _misbehave("Ingest")


@component
def Trainer(examples: InputArtifact[Examples], model: OutputArtifact[Model], seed: Parameter[int]) -> None:
    Path(model.uri, "model").write_text(Path(examples.uri, "examples").read_text() + f" seed {seed}")
    _misbehave("Trainer")


@component
def QualityGate(
    model: InputArtifact[Model],
    blessing: OutputArtifact[ModelBlessing],
    floor: Parameter[float],
    override: Parameter[str],
) -> None:
    _misbehave("QualityGate")
    enough = floor <= 0.9
    words = f"accuracy 0.9000 {'reaches' if enough else 'is below'} {floor:.4f}, the floor"
    rule = Rule("accuracy", "passed" if enough else "failed", 0.9, floor, words)
    given = Override(**{**json.loads(override), "applied": not enough}) if override else None
    blessed = enough or given is not None
    sentence = "Blessed: it keeps to every rule." if blessed else "Refused: it is below the floor."
    verdict.write(blessing.uri, Verdict(blessed, False, sentence, [rule], given, 100, model.uri))
    blessing.set_string_custom_property("current_model", model.uri)
    blessing.set_int_custom_property("blessed", int(blessed))


@component
def Pusher(
    model: InputArtifact[Model],
    blessing: InputArtifact[ModelBlessing],
    pushed_model: OutputArtifact[PushedModel],
    serving_dir: Parameter[str],
) -> None:
    _misbehave("Pusher")
    pushed_model.set_int_custom_property("pushed", 0)
    if blessing.get_int_custom_property("blessed"):
        version = str(time.time_ns() // 1000)
        served = Path(serving_dir, version)
        served.mkdir(parents=True)
        (served / "model").write_text(Path(model.uri, "model").read_text())
        pushed_model.set_int_custom_property("pushed", 1)
        pushed_model.set_string_custom_property("pushed_destination", str(served))
        pushed_model.set_string_custom_property("pushed_version", version)


def build(settings: Settings, override: str = "") -> tfx.dsl.Pipeline:
    """Ingest → Trainer → (Baseline) → QualityGate → Pusher."""
    ingest = Ingest(count=settings.data.sample.count)
    train = Trainer(examples=ingest.outputs["examples"], seed=settings.training.seed)
    baseline = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=Model),
        model_blessing=tfx.dsl.Channel(type=ModelBlessing),
    ).with_id("Baseline")
    judged = baseline if os.environ.get("TINY_FAULT") == "QualityGate:starve" else train
    judge = QualityGate(
        model=judged.outputs["model"], floor=settings.evaluation.min_accuracy, override=override
    )
    judge.add_upstream_node(baseline)
    push = Pusher(
        model=train.outputs["model"],
        blessing=judge.outputs["blessing"],
        serving_dir=settings.serving_destination,
    )
    return tfx.dsl.Pipeline(
        pipeline_name=settings.pipeline_name,
        pipeline_root=str(settings.artifacts_dir),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(settings.metadata_path)
        ),
        components=[ingest, train, baseline, judge, push],
        enable_cache=True,
    )
