from __future__ import annotations

import logging
import re
from types import SimpleNamespace
from typing import Any

import keras
import pytest
import tensorflow as tf

from trainer import hardware
from trainer.training_config import PhaseConfig, TrainingConfig

T4 = {"device_name": "Tesla T4", "compute_capability": (7, 5)}
P100 = {"device_name": "Tesla P100", "compute_capability": (6, 0)}
OTHER_VENDOR: dict[str, Any] = {}


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Any:
    """`machine(details, …)` makes TensorFlow report GPUs with these details."""

    def with_gpus(*details: dict[str, Any]) -> None:
        devices = [SimpleNamespace(name=f"/physical_device:GPU:{n}", n=n) for n in range(len(details))]
        monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: devices)
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: details[device.n])
        monkeypatch.setattr(tf.distribute, "MirroredStrategy", lambda names: names)

    return with_gpus


@pytest.mark.parametrize(
    ("gpus", "strategy", "precision", "jit"),
    [
        ([], None, "float32", False),
        ([T4], None, "mixed_float16", True),
        ([P100], None, "float32", True),
        ([OTHER_VENDOR], None, "float32", True),
        ([T4, T4], ["GPU:0", "GPU:1"], "mixed_float16", False),
        ([T4, P100], ["GPU:0", "GPU:1"], "float32", False),
    ],
)
def test_all_devices_are_used_in_a_precision_that_suits_all_of_them(
    gpus: list[dict[str, Any]], strategy: list[str] | None, precision: str, jit: bool, machine: Any
) -> None:
    machine(*gpus)
    detected = hardware.detect()
    names = tuple(strategy or ["GPU:0" if gpus else "CPU:0"])
    assert detected == (names, strategy or tf.distribute.get_strategy(), precision, jit)
    assert detected.replicas == max(1, len(gpus))


@pytest.mark.parametrize(
    ("requested", "seen", "is_warned"),
    [(None, 0, False), ("0", 0, False), ("1", 1, False), ("1", 0, True), ("2", 1, True)],
)
def test_a_requested_gpu_that_tensorflow_does_not_see_is_logged(
    requested: str | None,
    seen: int,
    is_warned: bool,
    machine: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    machine(*[T4] * seen)
    monkeypatch.delenv("CATSDOGS_GPUS", raising=False)
    if requested is not None:
        monkeypatch.setenv("CATSDOGS_GPUS", requested)
    with caplog.at_level(logging.INFO, hardware.__name__):
        hardware.detect()
    first, *others = caplog.messages
    for word in ("mixed_float16", "Tesla T4") if seen else ("float32", "CPU"):
        assert word in first
    assert len(others) == is_warned
    for other in others:
        assert "kubeflow.images.gpu" in other


def test_a_gpu_without_a_driver_name_is_logged_by_number(
    machine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    machine(OTHER_VENDOR)
    with caplog.at_level(logging.INFO, hardware.__name__):
        hardware.detect()
    assert "/physical_device:GPU:0" in caplog.text


CONFIG = TrainingConfig(
    batch_size=16,
    frozen=PhaseConfig(epochs=1, learning_rate=1e-3),
    fine_tuning=PhaseConfig(epochs=1, learning_rate=2e-5),
)


def test_batch_size_and_learning_rates_scale_with_the_devices_and_are_logged(
    machine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    machine(T4, T4, T4)
    with caplog.at_level(logging.INFO, hardware.__name__):
        scaled = hardware.detect().scale_config(CONFIG)
    assert scaled.batch_size == 48
    assert scaled.frozen.learning_rate == pytest.approx(3e-3)
    assert scaled.fine_tuning.learning_rate == pytest.approx(6e-5)
    unchanged = {"batch_size", "frozen", "fine_tuning"}
    assert scaled.model_dump(exclude=unchanged) == CONFIG.model_dump(exclude=unchanged)
    [message] = caplog.messages[1:]
    assert re.findall(r"[\d.e-]*\d", message) == ["3", "48", "16", "3", "0.003", "6e-05"]


def test_the_batch_size_divides_evenly_among_devices_if_there_are_few_examples(machine: Any) -> None:
    machine(T4, T4, T4)
    several = hardware.detect()
    assert several.fit_batch_size(96, examples=1000) == 96
    assert several.fit_batch_size(96, examples=95) == 93
    assert hardware.with_devices(["CPU:0"]).fit_batch_size(96, examples=95) == 96


def test_one_device_leaves_the_config_unchanged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, hardware.__name__):
        assert hardware.with_devices(["CPU:0"]).scale_config(CONFIG) == CONFIG
    assert not caplog.messages


def test_the_precision_applies_inside_the_scope_only_even_if_building_fails() -> None:
    mixed = hardware.with_devices(["CPU:0"])._replace(precision="mixed_float16")
    before = keras.config.dtype_policy()
    with mixed.scope():
        assert keras.layers.Dense(1).compute_dtype == "float16"
    assert keras.config.dtype_policy() == before
    with pytest.raises(ZeroDivisionError), mixed.scope():
        _ = 1 / 0
    assert keras.config.dtype_policy() == before
    assert keras.layers.Dense(1).compute_dtype == "float32"


def test_fewer_examples_than_devices_are_refused() -> None:
    two = hardware.with_devices(["CPU:0"])._replace(devices=("GPU:0", "GPU:1"))
    assert two.fit_batch_size(64, 3) == 2
    with pytest.raises(ValueError, match=" 1 .* 2 .*data.split"):
        two.fit_batch_size(64, 1)
