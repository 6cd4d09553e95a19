"""Selects the devices to train on: all GPUs of the machine or the CPU, and their precision."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.training_config import TrainingConfig

# The first compute capability whose NVIDIA GPUs are much faster in float16.
_TENSOR_CORES = (7, 0)

_log = logging.getLogger(__name__)


class Hardware(NamedTuple):
    """Devices that train together, each on its share of every batch.

    Attributes:
        devices: TensorFlow device names, such as `GPU:0`; each device has a copy of the weights.
        strategy: TensorFlow's default strategy for one device, MirroredStrategy for several.
        precision: Keras dtype policy: `mixed_float16` if every device has tensor cores, otherwise `float32`.
        jit: Whether XLA may compile the training steps: on one GPU only. On CPUs it was measured to be 15
            times slower, and Keras does not use it under a distribution strategy.
    """

    devices: tuple[str, ...]
    strategy: tf.distribute.Strategy
    precision: str
    jit: bool

    @property
    def replicas(self) -> int:
        """Number of devices."""
        return len(self.devices)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Enters the distribution strategy and sets the dtype policy.

        Create and compile models, optimizers and metrics inside, and load weights inside. The dtype policy is
        restored at the end, because other components may share the process.
        """
        policy = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.precision)
        try:
            with self.strategy.scope():
                yield
        finally:
            keras.config.set_dtype_policy(policy)

    def scale_config(self, config: TrainingConfig) -> TrainingConfig:
        """Returns a config with batch size and learning rates multiplied by the number of replicas.

        This is the linear scaling rule of Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in
        1 Hour" (2017). If the last batch of an epoch does not divide evenly, its loss is the mean of the
        devices' means.

        Args:
            config: Batch size of one device, and learning rates for that batch size.
        """
        if self.replicas == 1:
            return config
        phases = {
            name: phase.model_copy(update={"learning_rate": phase.learning_rate * self.replicas})
            for name, phase in (("frozen", config.frozen), ("fine_tuning", config.fine_tuning))
        }
        scaled = config.model_copy(update={"batch_size": config.batch_size * self.replicas, **phases})
        _log.info(
            "%d devices share each batch of %d (%d each); "
            "learning rates multiplied by %d: %g frozen, %g fine-tuning.",
            *(self.replicas, scaled.batch_size, config.batch_size, self.replicas),
            *(scaled.frozen.learning_rate, scaled.fine_tuning.learning_rate),
        )
        return scaled

    def fit_batch_size(self, batch_size: int, examples: int) -> int:
        """Returns a batch size that gives all devices equal shares of the first batch.

        On several devices, Keras builds a model from these shares, and fails if they differ in size.

        Args:
            batch_size: Largest batch size, over all devices.
            examples: Number of examples in the dataset.

        Raises:
            ValueError: There are fewer examples than devices.
        """
        if examples < self.replicas:
            raise ValueError(
                f"A split has {examples} images, but {self.replicas} devices share each batch: give the "
                f"split at least {self.replicas} images (data.split), or train on fewer devices."
            )
        if self.replicas == 1:
            return batch_size
        return min(batch_size, examples // self.replicas * self.replicas)


def detect() -> Hardware:
    """Returns all GPUs that TensorFlow sees, or the CPU if it sees none, and logs them.

    Logs a warning if the task requests more GPUs than TensorFlow sees.
    """
    gpus = tf.config.list_physical_devices("GPU")
    hardware = with_devices([f"GPU:{number}" for number in range(len(gpus))] or ["CPU:0"])
    names = [_details(device).get("device_name", device.name) for device in gpus]
    requested = int(os.environ.get("CATSDOGS_GPUS", "0"))  # set if the pipeline was compiled for GPUs
    devices = " and ".join(names) or "the CPU: TensorFlow sees no GPU"
    _log.info("Training in %s on %s.", hardware.precision, devices)
    if len(gpus) < requested:
        _log.warning(
            "The task requests %d GPU%s, and TensorFlow sees %d: check that the node has the GPU driver, and "
            "that the task runs in the container image for GPUs (kubeflow.images.gpu).",
            *(requested, "" if requested == 1 else "s", len(gpus)),
        )
    return hardware


def with_devices(devices: Sequence[str]) -> Hardware:
    """Returns the hardware for the given devices.

    Args:
        devices: TensorFlow names of consecutive devices from number 0, such as `["GPU:0", "GPU:1"]` or
            `["CPU:0"]`; tests use virtual CPUs.
    """
    is_distributed = len(devices) > 1
    gpus = [name for name in devices if name.startswith("GPU")]
    return Hardware(
        tuple(devices),
        tf.distribute.MirroredStrategy(list(devices)) if is_distributed else tf.distribute.get_strategy(),
        "mixed_float16" if gpus and all(map(_has_tensor_cores, gpus)) else "float32",
        jit=bool(gpus) and not is_distributed,
    )


def _has_tensor_cores(name: str) -> bool:
    device = tf.config.list_physical_devices("GPU")[int(name.rpartition(":")[2])]
    # Only GPUs of NVIDIA report it.
    capability: tuple[int, int] = _details(device).get("compute_capability", (0, 0))
    return capability >= _TENSOR_CORES


def _details(device: Any) -> dict[str, Any]:
    details: dict[str, Any] = tf.config.experimental.get_device_details(device)
    return details
