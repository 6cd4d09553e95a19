"""A loaded version of a model.

It runs in a TensorFlow 1 session, as in TensorFlow Serving, and not through `tf.saved_model.load`: a model
that TensorFlow Serving cannot restore fails here too, errors are the same, and a call takes a tenth of the
time.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf.config_pb2 import CallableOptions
from tensorflow.core.protobuf.meta_graph_pb2 import SignatureDef
from tensorflow.python.saved_model.loader_impl import (
    SavedModelLoader,
)  # without the deprecation warning of tf.compat.v1

from serving.local.status import StatusError, invalid_argument, not_found, to_status_error

DEFAULT_SIGNATURE = "serving_default"

_SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")

_Callable = Callable[..., list[Any]]


class Servable:
    """A version in memory, released with the last reference to it. Thread-safe.

    Args:
        name: The model's name in requests.
        version: The version number.
        folder: Folder with the SavedModel.

    Attributes:
        name: The model's name in requests.
        version: The version number.
        signature_defs: The signatures by name, as stored in the SavedModel.

    Raises:
        StatusError: The folder has no SavedModel, or it cannot be loaded.
    """

    def __init__(self, name: str, version: int, folder: Path) -> None:
        self.name = name
        self.version = version
        self._session, self.signature_defs = _load(folder)
        self._callables: dict[tuple[str, tuple[str, ...]], _Callable] = {}
        self._lock = threading.Lock()
        weakref.finalize(self, _release, self._session, self._callables)

    def run(
        self, signature_name: str, inputs: Mapping[str, np.ndarray], output_filter: Collection[str] = ()
    ) -> dict[str, np.ndarray]:
        """Runs a signature.

        Args:
            signature_name: Empty means `serving_default`.
            inputs: Tensors by input name; strings as arrays of type object that hold bytes.
            output_filter: The outputs to return; none means all. Only these are computed.

        Returns:
            Tensors by output name; strings as arrays of type object that hold bytes.

        Raises:
            StatusError: The inputs do not fit the signature, or a kernel failed; with the message that
                TensorFlow Serving gives.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        signature = self._signature(signature_name)
        feeds = _feed_values(signature, inputs)
        outputs = _output_names(signature, output_filter)
        try:
            values = self._callable(signature_name, outputs)(*feeds)
        except tf.errors.OpError as error:
            raise to_status_error(error) from None
        except UnicodeDecodeError as error:
            # A kernel's error quotes input bytes that are not UTF-8: TensorFlow's Python fails to decode the
            # message and loses its code. Kernels quote the input only if it is invalid.
            text = error.object.decode(errors="replace")
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, text) from None
        return {
            # A session returns scalars as Python or numpy scalars.
            name: value
            if isinstance(value, np.ndarray)
            else np.array(value, dtype=object if isinstance(value, bytes) else None)
            for name, value in zip(outputs, values, strict=True)
        }

    def check_inputs(self, signature_name: str, names: Collection[str]) -> None:
        """Checks a request's signature and input names, before its tensors are decoded.

        Args:
            signature_name: Empty means `serving_default`.
            names: The names of the inputs in the request.

        Raises:
            StatusError: There is no such signature, or it has other inputs.
        """
        _check_input_names(self._signature(signature_name or DEFAULT_SIGNATURE), names)

    def _signature(self, name: str) -> SignatureDef:
        signature = self.signature_defs.get(name)
        if signature is None:
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return signature

    def _callable(self, signature_name: str, outputs: tuple[str, ...]) -> _Callable:
        """Returns a function that takes the inputs, sorted by name, and returns the outputs."""
        key = (signature_name, outputs)
        function = self._callables.get(key)
        if function is None:
            with self._lock:
                function = self._callables.get(key)
                if function is None:
                    signature = self.signature_defs[signature_name]
                    options = CallableOptions(
                        feed=[signature.inputs[name].name for name in sorted(signature.inputs)],
                        fetch=[signature.outputs[name].name for name in outputs],
                    )
                    # Session.make_callable takes no inputs, or is as slow as Session.run.
                    function = self._callables[key] = self._session._make_callable_from_options(options)
        return function


def _load(folder: Path) -> tuple[tf.compat.v1.Session, dict[str, SignatureDef]]:
    if not any((folder / file).exists() for file in _SAVED_MODEL_FILES):
        raise not_found(
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}. "
            "Check that the directory exists and that you have the right permissions for accessing it."
        )
    session = tf.compat.v1.Session(graph=tf.Graph())
    try:
        with session.graph.as_default():
            meta_graph = SavedModelLoader(str(folder)).load(session, [tf.saved_model.SERVING])
    except Exception as error:  # of many types: damaged files, unknown kernels, missing tags
        session.close()
        raise to_status_error(error) from error
    # Copies, because a submessage keeps the whole message in memory.
    signatures = {}
    for name, signature in meta_graph.signature_def.items():
        signatures[name] = SignatureDef()
        signatures[name].CopyFrom(signature)
    return session, signatures


def _release(session: tf.compat.v1.Session, callables: dict[tuple[str, tuple[str, ...]], _Callable]) -> None:
    callables.clear()
    session.close()


def _feed_values(signature: SignatureDef, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the values of all inputs, sorted by name, with the signature's defaults."""
    if inputs.keys() != signature.inputs.keys():
        _check_input_names(signature, inputs)
        inputs = {**{name: tf.make_ndarray(value) for name, value in signature.defaults.items()}, **inputs}
    feeds = [inputs[name] for name in sorted(signature.inputs)]
    for index, (name, value) in enumerate(zip(sorted(signature.inputs), feeds, strict=True)):
        expected = signature.inputs[name].dtype
        actual = (tf.string if value.dtype.kind in "OS" else tf.as_dtype(value.dtype)).as_datatype_enum
        if actual != expected:
            raise invalid_argument(
                f"Expects arg[{index}] to be {_type_name(expected)} but {_type_name(actual)} is provided"
            )
    return feeds


def _check_input_names(signature: SignatureDef, names: Collection[str]) -> None:
    actual, expected = set(names), set(signature.inputs)
    missing, extra = expected - actual - set(signature.defaults), actual - expected
    if missing or extra:
        raise invalid_argument(
            f"The signature has the inputs {_format_names(expected)}: the request is missing "
            f"{_format_names(missing)}, and has the unknown inputs {_format_names(extra)}."
        )


def _output_names(signature: SignatureDef, output_filter: Collection[str]) -> tuple[str, ...]:
    for name in output_filter:
        if name not in signature.outputs:
            raise invalid_argument(
                f"The signature has no output {name}, only {_format_names(signature.outputs)}."
            )
        if list(output_filter).count(name) > 1:
            raise invalid_argument(f"The output filter lists {name} twice.")
    return tuple(sorted(output_filter or signature.outputs))


def _type_name(number: int) -> str:
    return str(types_pb2.DataType.Name(number)).removeprefix("DT_").lower()


def _format_names(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
