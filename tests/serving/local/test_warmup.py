from __future__ import annotations

from pathlib import Path

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving import warmup
from serving.local import warmup as local_warmup
from serving.local.servable import Servable
from serving.local.status import StatusError
from serving.local.warmup import replay_requests
from tests.serving import bad_images, saved_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_models.classifier(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def servable(folder: Path) -> Servable:
    return Servable("m", 1, folder)


@pytest.fixture
def extra(folder: Path) -> Path:
    """The path of the warm-up file, which does not exist yet."""
    file = folder / warmup.REQUESTS_FILE
    file.unlink(missing_ok=True)
    return file


def write_records(file: Path, *records: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)


def test_replays_the_requests_that_were_written(folder: Path, extra: Path, servable: Servable) -> None:
    images = [bad_images.encode("JPEG"), bad_images.encode("PNG", size=(33, 50))]
    warmup.write_requests(extra, "cats", images)
    assert replay_requests(servable, folder) == 2
    assert [entry.name for entry in extra.parent.iterdir()] == [extra.name]


def test_writes_the_format_of_tensorflow_serving(extra: Path) -> None:
    images = [bad_images.encode("JPEG"), b"\0\xff"]
    warmup.write_requests(extra, "cats", images)
    requests = [
        PredictionLog.FromString(record).predict_log.request
        for record in tf.data.TFRecordDataset(str(extra)).as_numpy_iterator()
    ]
    assert {request.model_spec.name for request in requests} == {"cats"}
    assert {request.model_spec.signature_name for request in requests} == {"serving_default"}
    sent = [tf.make_ndarray(request.inputs["image_bytes"]) for request in requests]
    np.testing.assert_array_equal(sent, [[image] for image in images])


def test_requests_are_optional(folder: Path, extra: Path, servable: Servable) -> None:
    assert replay_requests(servable, folder) == 0


def test_skips_or_rejects_other_types_of_request(folder: Path, extra: Path, servable: Servable) -> None:
    classify, session = PredictionLog(), PredictionLog()
    classify.classify_log.request.model_spec.name = "cats"
    session.session_run_log.request.model_spec.name = "cats"
    write_records(extra, classify.SerializeToString(), b"")
    assert replay_requests(servable, folder) == 0
    write_records(extra, session.SerializeToString())
    with pytest.raises(StatusError, match="5"):
        replay_requests(servable, folder)


def test_rejects_more_than_a_thousand_requests(
    folder: Path, extra: Path, servable: Servable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_warmup, "MAX_REQUESTS", 3)
    warmup.write_requests(extra, "cats", [bad_images.encode("JPEG")] * 3)
    assert replay_requests(servable, folder) == 3
    warmup.write_requests(extra, "cats", [bad_images.encode("JPEG")] * 4)
    with pytest.raises(StatusError, match="3"):
        replay_requests(servable, folder)


def test_reports_damaged_files(folder: Path, extra: Path, servable: Servable) -> None:
    warmup.write_requests(extra, "cats", [bad_images.encode("JPEG")])
    extra.write_bytes(extra.read_bytes()[:-9])
    with pytest.raises(StatusError) as damaged:
        replay_requests(servable, folder)
    assert damaged.value.code is grpc.StatusCode.DATA_LOSS
    write_records(extra, b"\xff\xff\xff")
    with pytest.raises(StatusError, match=str(extra)):
        replay_requests(servable, folder)
