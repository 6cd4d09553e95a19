from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import grpc
import numpy as np
import pytest

from serving.local.servable import Servable
from serving.local.status import StatusError
from tests.serving import bad_images, saved_models

INVALID = grpc.StatusCode.INVALID_ARGUMENT
X = np.array([[1.0], [2.0]], np.float32)


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return Servable("m", 123, saved_models.half_plus_two(tmp_path_factory.mktemp("half")))


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Servable:
    return Servable("m", 1, saved_models.classifier(tmp_path_factory.mktemp("classifier")))


def test_runs_a_signature_with_named_inputs(half: Servable) -> None:
    outputs = half.run("serving_default", {"x": X})
    assert list(outputs) == ["y"]
    assert outputs["y"].dtype == np.float32
    np.testing.assert_array_equal(outputs["y"], [[2.5], [3.0]])


@pytest.mark.parametrize(
    ("signature_name", "inputs", "code", "named"),
    [
        ("zz", {"x": X}, grpc.StatusCode.FAILED_PRECONDITION, '"zz"'),
        ("", {}, INVALID, "{x}"),
        ("", {"x": X, "z": X}, INVALID, "{z}"),
        ("", {"z": X}, INVALID, "{z}"),
        ("", {"x": X.astype(np.float64)}, INVALID, "double"),
        ("", {"x": np.array([b"1"], object)}, INVALID, "string"),
    ],
)
def test_rejects_inputs_that_do_not_fit_the_signature(
    half: Servable, signature_name: str, inputs: dict, code: grpc.StatusCode, named: str
) -> None:
    with pytest.raises(StatusError) as refused:
        half.run(signature_name, inputs)
    assert refused.value.code == code
    assert named in refused.value.message


def test_returns_only_the_outputs_in_the_filter(classifier: Servable) -> None:
    inputs = {"image_bytes": np.array([bad_images.encode("PNG")], object)}
    assert list(classifier.run("", inputs, ["label"])) == ["label"]
    assert set(classifier.run("", inputs)) == {"dog_probability", "label"}


@pytest.mark.parametrize("output_filter", [["z"], ["y", "y"]])
def test_rejects_unknown_outputs(half: Servable, output_filter: list[str]) -> None:
    with pytest.raises(StatusError, match=output_filter[0]) as refused:
        half.run("", {"x": X}, output_filter)
    assert refused.value.code == INVALID


def test_keeps_the_code_and_message_of_a_kernels_error(tmp_path: Path) -> None:
    dense = Servable("m", 1, saved_models.dense(tmp_path))
    with pytest.raises(StatusError) as refused:
        dense.run("", {"x": np.ones((1, 3), np.float32)})
    assert refused.value.code == INVALID
    assert "[1,3]" in refused.value.message
    assert "{{node " in refused.value.message
    assert "File " not in refused.value.message


def test_reports_an_error_that_quotes_binary_input(classifier: Servable) -> None:
    with pytest.raises(StatusError) as refused:
        classifier.run("serving_examples", {"examples": np.array([b"\x13\x14\xff\xfe"], object)})
    assert refused.value.code == INVALID


def _without_the_graph(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()


def _with_half_a_graph(folder: Path) -> None:
    whole = (folder / "saved_model.pb").read_bytes()
    (folder / "saved_model.pb").write_bytes(whole[: len(whole) // 2])


def _without_variables(folder: Path) -> None:
    shutil.rmtree(folder / "variables")


def _with_half_the_variables(folder: Path) -> None:
    [data] = (folder / "variables").glob("variables.data*")
    data.write_bytes(data.read_bytes()[:8])


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (_without_the_graph, grpc.StatusCode.NOT_FOUND),
        (_with_half_a_graph, grpc.StatusCode.INTERNAL),
        (_without_variables, grpc.StatusCode.INTERNAL),
        (_with_half_the_variables, grpc.StatusCode.OUT_OF_RANGE),
    ],
)
def test_a_damaged_model_is_not_loaded(
    damage: Callable[[Path], None], code: grpc.StatusCode, tmp_path: Path
) -> None:
    folder = saved_models.dense(tmp_path)
    damage(folder)
    with pytest.raises(StatusError) as refused:
        Servable("m", 1, folder)
    assert refused.value.code == code
