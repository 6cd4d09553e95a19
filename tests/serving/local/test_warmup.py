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
from serving.local.warmup import replay
from tests.serving import bad_pictures, models


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return models.classifier(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def servable(folder: Path) -> Servable:
    return Servable("m", 1, folder)


@pytest.fixture
def extra(folder: Path) -> Path:
    """The file of requests; none yet."""
    file = folder / warmup.REQUESTS_FILE
    file.unlink(missing_ok=True)
    return file


def write_records(file: Path, *records: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for record in records:
            writer.write(record)


def test_what_is_written_is_answered(folder: Path, extra: Path, servable: Servable) -> None:
    pictures = [bad_pictures.encode("JPEG"), bad_pictures.encode("PNG", size=(33, 50))]
    warmup.write_requests(extra, "cats", pictures)
    assert replay(servable, folder) == 2
    assert [entry.name for entry in extra.parent.iterdir()] == [extra.name]


def test_the_file_is_what_tensorflow_serving_reads(extra: Path) -> None:
    pictures = [bad_pictures.encode("JPEG"), b"\0\xff"]
    warmup.write_requests(extra, "cats", pictures)
    requests = [
        PredictionLog.FromString(record).predict_log.request
        for record in tf.data.TFRecordDataset(str(extra)).as_numpy_iterator()
    ]
    assert {request.model_spec.name for request in requests} == {"cats"}
    assert {request.model_spec.signature_name for request in requests} == {"serving_default"}
    sent = [tf.make_ndarray(request.inputs["image_bytes"]) for request in requests]
    np.testing.assert_array_equal(sent, [[picture] for picture in pictures])


def test_requests_are_optional(folder: Path, extra: Path, servable: Servable) -> None:
    assert replay(servable, folder) == 0


def test_other_kinds_of_request_are_passed_over_or_refused(
    folder: Path, extra: Path, servable: Servable
) -> None:
    classify, session = PredictionLog(), PredictionLog()
    classify.classify_log.request.model_spec.name = "cats"
    session.session_run_log.request.model_spec.name = "cats"
    write_records(extra, classify.SerializeToString(), b"")
    assert replay(servable, folder) == 0
    write_records(extra, session.SerializeToString())
    with pytest.raises(StatusError, match="5"):
        replay(servable, folder)


def test_a_thousand_requests_are_enough(
    folder: Path, extra: Path, servable: Servable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_warmup, "MOST_REQUESTS", 3)
    warmup.write_requests(extra, "cats", [bad_pictures.encode("JPEG")] * 3)
    assert replay(servable, folder) == 3
    warmup.write_requests(extra, "cats", [bad_pictures.encode("JPEG")] * 4)
    with pytest.raises(StatusError, match="3"):
        replay(servable, folder)


def test_damaged_files_are_told(folder: Path, extra: Path, servable: Servable) -> None:
    warmup.write_requests(extra, "cats", [bad_pictures.encode("JPEG")])
    extra.write_bytes(extra.read_bytes()[:-9])
    with pytest.raises(StatusError) as damaged:
        replay(servable, folder)
    assert damaged.value.code is grpc.StatusCode.DATA_LOSS
    write_records(extra, b"\xff\xff\xff")
    with pytest.raises(StatusError, match=str(extra)):
        replay(servable, folder)
