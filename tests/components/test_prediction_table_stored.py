"""What is written is what is read; the model's side is in test_prediction_table.py."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np

from components.prediction_table import columns, table
from components.prediction_table.table import BaselineState, Predictions
from tests.components import prediction_tables


def there_and_back(written: Predictions, folder: Path) -> Predictions:
    table.write(str(folder), written)
    return table.read(str(folder))


def check_equal(read: Predictions, written: Predictions) -> None:
    for field in dataclasses.fields(Predictions):
        was, now = getattr(written, field.name), getattr(read, field.name)
        if field.name in ("baseline_probabilities", "changed"):
            assert now.keys() == was.keys()
            for name in was:
                np.testing.assert_allclose(now[name], was[name], atol=1e-7, err_msg=name)
        elif isinstance(was, np.ndarray):
            assert now.dtype == was.dtype
            np.testing.assert_allclose(now, was, atol=1e-7, err_msg=field.name)
        else:
            assert now == was or (now != now and was != was), field.name  # NaN is unlike itself


def test_a_whole_table(tmp_path: Path) -> None:
    labels, predicted = prediction_tables.drawn(20)
    sampled = np.where(np.arange(20) < 5, 0.25, np.nan)
    written = prediction_tables.table(
        labels,
        predicted,
        {"newest": 1 - predicted, "best": predicted / 2},
        seen=np.arange(20) % 3 == 0,
        changed=dict.fromkeys(columns.PERTURBATIONS, sampled),
    )
    check_equal(there_and_back(written, tmp_path), written)


def test_a_best_model_that_is_the_newest_one_is_stored_once(tmp_path: Path) -> None:
    written = prediction_tables.table([0, 1], [0.1, 0.9], {"newest": [0.2, 0.7]})
    assert written.baselines["best"].state == "same"
    read = there_and_back(written, tmp_path)
    check_equal(read, written)
    assert read.baseline_probabilities["best"] is read.baseline_probabilities["newest"]


def test_models_that_could_not_be_asked_have_no_column(tmp_path: Path) -> None:
    states = {
        "newest": BaselineState("unreadable", 3, "/gone", "its folder is gone"),
        "best": BaselineState("none"),
    }
    written = dataclasses.replace(prediction_tables.table([0], [0.5]), baselines=states)
    read = there_and_back(written, tmp_path)
    assert read.baselines == states
    assert read.baseline_probabilities == {}


def test_an_empty_table(tmp_path: Path) -> None:
    written = prediction_tables.table([], [], {"newest": []}, grey=float("nan"))
    read = there_and_back(written, tmp_path)
    check_equal(read, written)
    assert read.probabilities.shape == read.baseline_probabilities["best"].shape == (0,)
    assert json.loads((tmp_path / "about.json").read_text())["grey"] is None


def test_rows_come_in_the_order_of_file_names_and_digests(tmp_path: Path) -> None:
    written = prediction_tables.table(
        [0, 1, 0], [0.1, 0.2, 0.3], filenames=["b.jpg", "a.jpg", "a.jpg"], digests=["1", "3", "2"]
    )
    read = there_and_back(written, tmp_path)
    assert list(zip(read.filenames, read.digests, strict=True)) == [
        ("a.jpg", "2"),
        ("a.jpg", "3"),
        ("b.jpg", "1"),
    ]
    np.testing.assert_allclose(read.probabilities, [0.3, 0.2, 0.1], atol=1e-7)
