"""Runs the real executor with real servers on small models, good ones and such as must not be pushed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2
from tfx.components.pusher.executor import Executor as StockPusher
from tfx.types import artifact_utils, standard_artifacts

from components.errors import PipelineError
from components.serving_check.config import ServingCheckConfig
from components.serving_check.executor import Executor
from tests.conftest import encode
from tests.processes import mark, marked
from tests.serving import saved_models
from trainer import features
from trainer.preprocessing import decode_and_resize

IMAGES = 7
NO_SERVER = "#!/bin/sh\necho 'no such flag: --port'; exit 1\n"

# Takes TensorFlow Serving's own flags, and lets the local server do the work.
MODEL_SERVER = f"""#!{sys.executable}
import os, sys
if sys.argv[1:] == ["--version"]:
    print("TensorFlow ModelServer: 2.19.1\\nTensorFlow Library: 2.19.1")
    sys.exit()
flags = dict(argument.removeprefix("--").split("=", 1) for argument in sys.argv[1:])
assert flags.pop("max_num_load_retries") == "0"
options = {{
    "--grpc-port": flags.pop("port"),
    "--rest-port": flags.pop("rest_api_port"),
    "--model-name": flags.pop("model_name"),
    "--model-dir": flags.pop("model_base_path"),
}}
assert not flags, flags
words = [word for option in options.items() for word in option]
os.execv({str(Path(sys.executable).with_name("catsdogs"))!r}, ["catsdogs", "serve", *words])
"""
# What it does with a model that it cannot load, with no retries.
UNABLE = """#!/bin/sh
[ "$1" = --version ] && exit
echo 'Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {pets}'
exit 255
"""


@dataclass(frozen=True)
class Checked:
    """What the executor left behind.

    Attributes:
        blessing: The artifact.
        report: `report.json`.
    """

    blessing: standard_artifacts.InfraBlessing

    @property
    def folder(self) -> Path:
        """The artifact's."""
        return Path(self.blessing.uri)

    @property
    def report(self) -> dict[str, Any]:
        """What `report.json` holds."""
        report: dict[str, Any] = json.loads((self.folder / "report.json").read_text())
        return report

    @property
    def blessed(self) -> bool:
        """What stock TFX makes of it."""
        files = {path.name for path in self.folder.iterdir()}
        accepted: bool = StockPusher().CheckBlessing({"infra_blessing": [self.blessing]})
        assert accepted == ("INFRA_BLESSED" in files) == ("INFRA_NOT_BLESSED" not in files)
        return accepted


Check = Callable[..., Checked]


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> standard_artifacts.Examples:
    artifact = standard_artifacts.Examples()
    artifact.uri = str(tmp_path_factory.mktemp("examples"))
    artifact.split_names = artifact_utils.encode_split_names(["train", "test"])
    folder = Path(artifact.uri) / "Split-test"
    folder.mkdir()
    for shard in range(2):
        with tf.io.TFRecordWriter(str(folder / f"{shard}.tfrecord")) as writer:
            for index in range(shard, IMAGES, 2):
                example = tf.train.Example()
                feature = example.features.feature
                feature[features.ENCODED].bytes_list.value.append(encode(index))
                feature[features.FILENAME].bytes_list.value.append(f"cats/{index}.jpg".encode())
                writer.write(example.SerializeToString())
    return artifact


@pytest.fixture
def check(tmp_path: Path, examples: standard_artifacts.Examples) -> Check:
    """`check(write, images=…, …)`: runs the executor on what `write(model artifact's folder)` writes."""

    def run(
        write: Callable[[Path], object], class_names: Sequence[str] = ("cat", "dog"), **changes: Any
    ) -> Checked:
        model, blessing = standard_artifacts.Model(), standard_artifacts.InfraBlessing()
        model.uri, blessing.uri = str(tmp_path / "model"), str(tmp_path / "blessing")
        write(tmp_path / "model")
        properties = {
            "model_name": "pets",
            "class_names": json.dumps(class_names),
            "config": ServingCheckConfig(
                **{"images": 5, "max_difference": 1e-5, "max_latency_ms": 5000.0, **changes}
            ).model_dump_json(),
            "code_fingerprint": "",
        }
        Executor().Do({"model": [model], "examples": [examples]}, {"blessing": [blessing]}, properties)
        return Checked(blessing)

    return run


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """`installed(script)`: puts a `tensorflow_model_server` on the PATH."""

    def install(script: str) -> None:
        binary = tmp_path / "bin" / "tensorflow_model_server"
        binary.parent.mkdir()
        binary.write_text(script)
        binary.chmod(0o755)
        monkeypatch.setenv("PATH", f"{binary.parent}:{os.environ['PATH']}")

    return install


def classifier(model: Path) -> None:
    """Writes a network as the Trainer exports it."""
    saved_models.classifier(model, version=1).rename(model / "Format-Serving")


def brightness(
    model: Path, served_as: str = "serving_default", evaluated_as: str = "serving_examples"
) -> None:
    """Writes a model that serves a tenth more than the Evaluator sees."""

    def probability(encoded: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.cast(decode_and_resize(encoded, 8), tf.float32) / 255, axis=[1, 2, 3])

    def output(value: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"dog_probability": value, "label": tf.where(value >= 0.5, "dog", "cat")}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="image_bytes")])
    def serve(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        return output(probability(image_bytes) + 0.1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def evaluate(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        parsed = tf.io.parse_example(examples, {features.ENCODED: tf.io.FixedLenFeature([], tf.string)})
        return output(probability(parsed[features.ENCODED]))

    tf.saved_model.save(
        tf.Module(), str(model / "Format-Serving"), signatures={served_as: serve, evaluated_as: evaluate}
    )


@pytest.mark.slow
def test_a_model_that_is_served_as_it_was_judged_is_blessed(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "HTTP_PROXY", "grpc_proxy"):  # of an office, which knows no way back here
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    checked = check(classifier)
    assert checked.blessed, checked.report["problems"]
    assert checked.report["server"] == "the local server"
    assert checked.report["problems"] == []
    for protocol in ("REST", "gRPC"):
        result = checked.report["protocols"][protocol]
        assert result["signatures"] == ["class_activation", "serving_default", "serving_examples"]
        assert result["answered"] == 5
        assert result["largest_difference"] <= 1e-5
        assert 0 < result["p50_ms"] <= result["p95_ms"] < 5000
    sent = [row["picture"] for row in checked.report["pictures"]]
    assert len(set(sent)) == 5
    assert {"cats/0.jpg", "cats/1.jpg"} <= set(sent)  # from all of the split

    requests = list(tf.data.TFRecordDataset(str(checked.folder / "tf_serving_warmup_requests")))
    logged = [prediction_log_pb2.PredictionLog.FromString(record.numpy()) for record in requests]
    assert [log.predict_log.request.model_spec.name for log in logged] == ["pets"] * 5


@pytest.mark.slow
def test_one_that_is_served_otherwise_and_slowly_is_refused_by_the_installed_server(
    check: Check, installed: Callable[[str], None]
) -> None:
    installed(MODEL_SERVER)
    checked = check(brightness, images=99, max_latency_ms=0.001)
    assert not checked.blessed
    assert checked.report["server"] == "TensorFlow Serving 2.19.1"
    problems = checked.report["problems"]
    for protocol, (differs, labels, slow) in {"REST": problems[:3], "gRPC": problems[3:]}.items():
        [row] = [each for each in checked.report["pictures"] if f"image {each['picture']}," in differs]
        served_probability, expected = row[protocol]["probability"], row["expected"]["probability"]
        assert served_probability == pytest.approx(expected + 0.1, abs=1e-5)
        assert f"{served_probability:.4f}" in differs
        assert f"{expected:.4f}" in differs
        assert f"{IMAGES} of {IMAGES}" in differs
        assert "cats/0.jpg" in labels
        assert "serving.check.max_latency_ms" in slow
        assert all(protocol in problem for problem in (differs, labels, slow))


@pytest.mark.slow
def test_one_without_the_signature_that_is_served_is_refused(check: Check) -> None:
    checked = check(lambda model: brightness(model, served_as="serving_bytes"))
    assert not checked.blessed
    [problem] = checked.report["problems"]
    assert "pets" in problem
    assert "serving_default" in problem


def test_one_without_the_signature_of_the_evaluator_is_refused(check: Check) -> None:
    checked = check(lambda model: brightness(model, evaluated_as="examples"))
    assert not checked.blessed
    [problem] = checked.report["problems"]
    assert "serving_examples" in problem
    assert checked.report["server"] is None


def test_one_for_other_classes_is_refused(check: Check) -> None:
    checked = check(brightness, class_names=("ant", "bee"))
    [problem] = checked.report["problems"]
    assert "bee_probability" in problem


def test_one_that_cannot_be_loaded_is_refused(check: Check) -> None:
    def spoil(model: Path) -> None:
        brightness(model)
        (model / "Format-Serving" / "saved_model.pb").write_bytes(b"torn")

    checked = check(spoil)
    assert not checked.blessed
    [problem] = checked.report["problems"]
    assert "TensorFlow" in problem
    assert checked.report["server"] is None


def test_one_that_the_installed_server_cannot_load_is_refused(
    check: Check, installed: Callable[[str], None]
) -> None:
    installed(UNABLE)
    checked = check(brightness)
    assert not checked.blessed
    [problem] = checked.report["problems"]
    assert "TensorFlow Serving" in problem
    assert "UNKNOWN: 1 servable(s) did not become available: {pets}" in problem, "in the server's own words"


def test_a_server_that_does_not_start_fails_the_node(
    check: Check, installed: Callable[[str], None], tmp_path: Path
) -> None:
    installed(NO_SERVER)
    with pytest.raises(PipelineError, match="status 1"):
        check(brightness)
    assert not list((tmp_path / "blessing").glob("INFRA_*"))


HOLD = """
import sys, time
from pathlib import Path
from components.serving_check.server import running_server
with running_server(Path(sys.argv[1]), "pets", Path(sys.argv[1], "log")):
    pass
"""


def test_the_server_does_not_outlive_a_step_that_is_killed(
    installed: Callable[[str], None], tmp_path: Path
) -> None:
    installed("#!/bin/sh\ntouch $(dirname $0)/started; exec sleep 3000\n")
    step = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], env=os.environ | mark(tmp_path), start_new_session=True
    )
    _until(lambda: (tmp_path / "bin" / "started").exists())
    assert len(marked(tmp_path)) == 2
    os.kill(step.pid, signal.SIGKILL)
    step.wait()
    _until(lambda: not marked(tmp_path))


def _until(done: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end
        time.sleep(0.05)
