"""One loaded version of a model, run as TensorFlow Serving runs it.

A session of TensorFlow 1, and not `tf.saved_model.load`: it is what TensorFlow Serving has, so that a model
that it could not restore fails here too, errors read the same, and a call costs a tenth.
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
from tensorflow.python.saved_model.loader_impl import SavedModelLoader  # tf.compat.v1's, which warns

from serving.local.status import StatusError, invalid_argument, not_found

DEFAULT_SIGNATURE = "serving_default"

_CODES = {code.value[0]: code for code in grpc.StatusCode}
_FILES = ("saved_model.pb", "saved_model.pbtxt")

_Callable = Callable[..., list[Any]]


class Servable:
    """A version in memory. It stays there for as long as somebody holds it; safe to use from several threads.

    Args:
        name: What requests call the model.
        version: The version's number.
        folder: Folder with the SavedModel.

    Attributes:
        name: What requests call the model.
        version: The version's number.
        signature_defs: The signatures by name, as stored in the SavedModel.

    Raises:
        StatusError: The folder has no SavedModel, or one that cannot be loaded.
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
        """Runs a signature and waits for its outputs.

        Args:
            signature_name: Empty means `serving_default`.
            inputs: By the signature's names for them; strings as arrays of type object that hold bytes.
            output_filter: The outputs wanted; none means all. Only what they need is computed.

        Returns:
            The outputs by the signature's names for them; strings as arrays of type object that hold bytes.

        Raises:
            StatusError: In TensorFlow Serving's words, and where a kernel refused, in the kernel's.
        """
        signature_name = signature_name or DEFAULT_SIGNATURE
        signature = self._signature(signature_name)
        fed = _fed(signature, inputs)
        outputs = _outputs(signature, output_filter)
        try:
            values = self._callable(signature_name, outputs)(*fed)
        except tf.errors.OpError as error:
            raise status_of(error) from None
        except UnicodeDecodeError as error:
            # TensorFlow's Python cannot read the text of a kernel that quotes the bytes it was given, and
            # loses the code with it; what quotes its input refuses it.
            text = error.object.decode(errors="replace")
            raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, text) from None
        return {name: _array(value) for name, value in zip(outputs, values, strict=True)}

    def check_names(self, signature_name: str, names: Collection[str]) -> None:
        """Looks whether a request can be run at all, before its inputs are decoded; `run` looks again.

        Args:
            signature_name: Empty means `serving_default`.
            names: Those of the inputs that were sent.

        Raises:
            StatusError: There is no such signature, or it has other inputs.
        """
        _check_names(self._signature(signature_name or DEFAULT_SIGNATURE), names)

    def _signature(self, name: str) -> SignatureDef:
        signature = self.signature_defs.get(name)
        if signature is None:
            raise StatusError(
                grpc.StatusCode.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.'
            )
        return signature

    def _callable(self, signature_name: str, outputs: tuple[str, ...]) -> _Callable:
        """Returns what feeds all inputs in the order of their names and fetches the outputs."""
        key = (signature_name, outputs)
        found = self._callables.get(key)
        if found is None:
            with self._lock:
                found = self._callables.get(key)
                if found is None:
                    signature = self.signature_defs[signature_name]
                    options = CallableOptions(
                        feed=[signature.inputs[name].name for name in sorted(signature.inputs)],
                        fetch=[signature.outputs[name].name for name in outputs],
                    )
                    # What Session.make_callable makes takes no inputs, or is as slow as Session.run.
                    found = self._callables[key] = self._session._make_callable_from_options(options)
        return found


def status_of(error: Exception) -> StatusError:
    """Returns what a request or a load ends with; without the traceback, whose frames hold what they used."""
    if isinstance(error, StatusError):
        return StatusError(error.code, error.message)
    if isinstance(error, tf.errors.OpError):
        return StatusError(_CODES.get(error.error_code, grpc.StatusCode.UNKNOWN), error.message)
    return StatusError(grpc.StatusCode.INTERNAL, f"{type(error).__name__}: {error}")


def _load(folder: Path) -> tuple[tf.compat.v1.Session, dict[str, SignatureDef]]:
    if not any((folder / file).exists() for file in _FILES):
        raise not_found(
            f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {folder}. "
            "Check that the directory exists and that you have the right permissions for accessing it."
        )
    session = tf.compat.v1.Session(graph=tf.Graph())
    try:
        with session.graph.as_default():
            meta_graph = SavedModelLoader(str(folder)).load(session, [tf.saved_model.SERVING])
    except Exception as error:  # of many kinds: damaged files, unknown kernels, missing tags
        session.close()
        raise status_of(error) from error
    # Copies, as a part of a message would keep the whole of it in memory.
    signatures = {}
    for name, signature in meta_graph.signature_def.items():
        signatures[name] = SignatureDef()
        signatures[name].CopyFrom(signature)
    return session, signatures


def _release(session: tf.compat.v1.Session, callables: dict[tuple[str, tuple[str, ...]], _Callable]) -> None:
    callables.clear()
    session.close()


def _fed(signature: SignatureDef, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """Returns the values of all inputs in the order of their names."""
    if inputs.keys() != signature.inputs.keys():
        _check_names(signature, inputs)
        inputs = {**{name: tf.make_ndarray(value) for name, value in signature.defaults.items()}, **inputs}
    fed = [inputs[name] for name in sorted(signature.inputs)]
    for index, (name, value) in enumerate(zip(sorted(signature.inputs), fed, strict=True)):
        wanted, given = signature.inputs[name].dtype, _type_number(value)
        if given != wanted:
            raise invalid_argument(
                f"Expects arg[{index}] to be {_type_name(wanted)} but {_type_name(given)} is provided"
            )
    return fed


def _check_names(signature: SignatureDef, names: Collection[str]) -> None:
    sent, known = set(names), set(signature.inputs)
    missing, extra = known - sent - set(signature.defaults), sent - known
    if missing or extra:
        raise invalid_argument(
            f"The signature has the inputs {_set(known)}; the request lacks {_set(missing)} and has "
            f"{_set(extra)} besides."
        )


def _outputs(signature: SignatureDef, wanted: Collection[str]) -> tuple[str, ...]:
    for name in wanted:
        if name not in signature.outputs:
            raise invalid_argument(f"The signature has no output {name}, only {_set(signature.outputs)}.")
        if list(wanted).count(name) > 1:
            raise invalid_argument(f"The output {name} is wanted twice.")
    return tuple(sorted(wanted or signature.outputs))


def _array(value: Any) -> np.ndarray:
    """Returns an output as an array: a session gives scalars bare."""
    if isinstance(value, np.ndarray):
        return value
    return np.array(value, dtype=object if isinstance(value, bytes) else None)


def _type_number(array: np.ndarray) -> int:
    return int((tf.string if array.dtype.kind in "OS" else tf.as_dtype(array.dtype)).as_datatype_enum)


def _type_name(number: int) -> str:
    return str(types_pb2.DataType.Name(number)).removeprefix("DT_").lower()


def _set(names: Collection[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"
