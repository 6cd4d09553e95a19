"""TensorFlow Serving's Classify and Regress: signatures over tf.Examples, with their checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from serving.local.status import invalid_argument

if TYPE_CHECKING:
    from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef

_INPUTS = "inputs"
_NAMES = {"classify": "classification", "regress": "regression"}


def check_signature(method: str, signature: SignatureDef) -> None:
    """Checks that a signature can be called by the method, `classify` or `regress`.

    Raises:
        StatusError: INVALID_ARGUMENT, with TensorFlow Serving's text.
    """
    wanted = f"tensorflow/serving/{method}"
    if signature.method_name != wanted:
        raise invalid_argument(
            f"Expected {_NAMES[method]} signature method_name to be {wanted}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    outputs = len(signature.outputs)
    if method == "classify" and outputs not in (1, 2):
        raise invalid_argument(f"Expected one or two output Tensors, found {outputs}")
    if method == "regress" and outputs != 1:
        raise invalid_argument("Expected one output Tensor.")
    if _INPUTS not in signature.inputs:
        raise invalid_argument(f"No {_NAMES[method]} inputs found in SignatureDef: {signature}")
    if method == "regress" and "outputs" not in signature.outputs:
        raise invalid_argument(f"No regression outputs found in SignatureDef: {signature}")
    if method == "classify" and not {"classes", "scores"} & set(signature.outputs):
        raise invalid_argument(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {signature}"
        )


def inputs(examples: list[bytes]) -> dict[str, np.ndarray]:
    """Returns the signature's input: string [N], serialized tf.Examples."""
    array = np.empty(len(examples), object)
    array[:] = examples
    return {_INPUTS: array}


def classifications(outputs: Mapping[str, np.ndarray], examples: int) -> list[list[tuple[bytes, float]]]:
    """Returns the labels and scores of each example.

    Args:
        outputs: `classes` string [N, C], `scores` float [N, C], or one of them.
        examples: N.

    Raises:
        StatusError: INVALID_ARGUMENT: the outputs are not such.
    """
    classes, scores = outputs.get("classes"), outputs.get("scores")
    for name, kind, array in (("classes", "DT_STRING", classes), ("scores", "DT_FLOAT", scores)):
        if array is None:
            continue
        if array.ndim != 2:
            raise invalid_argument(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(array)}")
        if array.dtype != (object if kind == "DT_STRING" else np.float32):
            raise invalid_argument(f"Expected {name} Tensor of {kind}. Got: {array.dtype}")
        if len(array) != examples:
            raise invalid_argument(f"Expected {name} output batch size of {examples}. Got: {len(array)}")
    if classes is not None and scores is not None and classes.shape != scores.shape:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). "
            f"Got {classes.shape[1]} vs. {scores.shape[1]}"
        )
    if scores is None:
        scores = np.zeros_like(classes, np.float32)
    if classes is None:
        classes = np.full(scores.shape, b"", object)
    return [list(zip(*row, strict=True)) for row in zip(classes.tolist(), scores.tolist(), strict=True)]


def regressions(outputs: Mapping[str, np.ndarray], examples: int) -> np.ndarray:
    """Returns the values of the examples.

    Args:
        outputs: `outputs` float [N] or [N, 1].
        examples: N.

    Returns:
        float32 [N].

    Raises:
        StatusError: INVALID_ARGUMENT: the outputs are not such.
    """
    values = outputs["outputs"]
    if values.ndim not in (1, 2) or (values.ndim == 2 and values.shape[1] != 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            f"{_shape(values)}"
        )
    if len(values) != examples:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {examples} vs. {len(values)}"
        )
    if values.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {values.dtype}")
    return values.reshape(-1)


def _shape(array: np.ndarray) -> str:
    return f"[{','.join(map(str, array.shape))}]"
