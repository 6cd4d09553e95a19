"""What a training runs on: the CPU, one GPU or all GPUs of one machine, in the precision that suits them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import tensorflow as tf

from trainer.training_config import TrainingConfig

# The compute capability from which NVIDIA's GPUs are much faster in float16.
_TENSOR_CORES = (7, 0)

_log = logging.getLogger(__name__)


class Hardware(NamedTuple):
    """Devices that train together, each on its share of every batch.

    Attributes:
        devices: TensorFlow's names of them, such as `GPU:0`; each has a copy of the weights.
        strategy: TensorFlow's own for one device, MirroredStrategy for several.
        precision: Keras' dtype policy: `mixed_float16` where every device has tensor cores, else `float32`.
        jit: Whether XLA may compile the steps: on one GPU only. On CPUs it was measured to be 15 times
            slower, and under a strategy Keras leaves it out.
    """

    devices: tuple[str, ...]
    strategy: tf.distribute.Strategy
    precision: str
    jit: bool

    @property
    def replicas(self) -> int:
        """How many devices."""
        return len(self.devices)

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Puts what is built inside onto the devices, in their precision.

        Models, optimizers and metrics belong inside, `compile` and the loading of weights too. Afterwards
        everything is as before: other steps may share the process.
        """
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.precision)
        try:
            with self.strategy.scope():
                yield
        finally:
            keras.config.set_dtype_policy(before)

    def scaled(self, recipe: TrainingConfig) -> TrainingConfig:
        """Returns the recipe for all devices: batch size and learning rates times the number of replicas.

        The linear scaling of Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour"
        (2017). A batch that does not divide evenly, the last of an epoch, counts by the mean of the devices'
        means.

        Args:
            recipe: `batch_size` is of one device, the learning rates are for that.
        """
        if self.replicas == 1:
            return recipe
        phases = {
            name: phase.model_copy(update={"learning_rate": phase.learning_rate * self.replicas})
            for name, phase in (("frozen", recipe.frozen), ("fine_tuning", recipe.fine_tuning))
        }
        scaled = recipe.model_copy(update={"batch_size": recipe.batch_size * self.replicas, **phases})
        _log.info(
            "%d devices share each batch of %d (%d each); "
            "learning rates times %d: %g frozen, %g fine-tuning.",
            *(self.replicas, scaled.batch_size, recipe.batch_size, self.replicas),
            *(scaled.frozen.learning_rate, scaled.fine_tuning.learning_rate),
        )
        return scaled

    def whole_batch(self, batch_size: int, pictures: int) -> int:
        """Returns a batch size that the pictures fill once at least.

        Keras builds a model on several devices from all their shares of the first batch, and fails where
        these are not of one size.

        Args:
            batch_size: The largest, of all devices.
            pictures: How many there are.

        Raises:
            ValueError: There are fewer pictures than devices.
        """
        if pictures < self.replicas:
            raise ValueError(
                f"A split has {pictures} pictures, and {self.replicas} devices train: give it "
                f"{self.replicas} at least (data.split), or train on fewer devices."
            )
        return min(batch_size, pictures // self.replicas * self.replicas) if self.replicas > 1 else batch_size


def detect() -> Hardware:
    """Returns all GPUs that TensorFlow sees, else the CPU, and logs them.

    A GPU that was asked for and is not seen is worth a warning, not a failure.
    """
    found = tf.config.list_physical_devices("GPU")
    hardware = on([f"GPU:{number}" for number in range(len(found))] or ["CPU:0"])
    names = [_details(device).get("device_name", device.name) for device in found]
    asked = int(os.environ.get("CATSDOGS_GPUS", "0"))  # set where the pipeline was compiled with GPUs
    where = " and ".join(names) or "the CPU: TensorFlow sees no GPU"
    _log.info("Training in %s on %s.", hardware.precision, where)
    if len(found) < asked:
        _log.warning(
            "%d GPU%s asked for, and TensorFlow sees %d: look whether the node has its driver, and whether "
            "the step runs in the image for GPUs (kubeflow.images.gpu).",
            asked,
            " was" if asked == 1 else "s were",
            len(found),
        )
    return hardware


def on(devices: Sequence[str]) -> Hardware:
    """Returns what trains on the first devices of a kind.

    Args:
        devices: TensorFlow's names without gaps, such as `["GPU:0", "GPU:1"]` or `["CPU:0"]`; virtual CPUs
            are good for tests.
    """
    several = len(devices) > 1
    gpus = [name for name in devices if name.startswith("GPU")]
    return Hardware(
        tuple(devices),
        tf.distribute.MirroredStrategy(list(devices)) if several else tf.distribute.get_strategy(),
        "mixed_float16" if gpus and all(map(_has_tensor_cores, gpus)) else "float32",
        jit=bool(gpus) and not several,
    )


def _has_tensor_cores(name: str) -> bool:
    device = tf.config.list_physical_devices("GPU")[int(name.rpartition(":")[2])]
    capability: tuple[int, int] = _details(device).get("compute_capability", (0, 0))  # unknown to other makes
    return capability >= _TENSOR_CORES


def _details(device: Any) -> dict[str, Any]:
    details: dict[str, Any] = tf.config.experimental.get_device_details(device)
    return details
