"""What a server can say: predictions, the states of versions, refusals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serving.errors import ServingError

_SUFFIX = "_probability"


@dataclass(frozen=True)
class Prediction:
    """What a model says of one picture.

    Attributes:
        probability: Of the second class, 0 to 1.
        probability_of: That class, for example "dog".
        label: The class that the model decides for.
        version: The model's version that answered; None where the server does not tell.
    """

    probability: float
    probability_of: str
    label: str
    version: int | None = None


@dataclass(frozen=True)
class VersionStatus:
    """The state of one version on the server.

    Attributes:
        version: Its number.
        state: "START", "LOADING", "AVAILABLE", "UNLOADING" or "END".
        error: Why it could not be loaded; empty where nothing is wrong.
    """

    version: int
    state: str
    error: str = ""


class Unreachable(ServingError):
    """No server answers, or none that has time, after all tries."""


class Refused(ServingError):
    """The server answered, and does not do what it was asked.

    Attributes:
        code: gRPC's name for what is wrong, for example "INVALID_ARGUMENT".
        text: What the server says, word for word.
    """

    def __init__(self, message: str, code: str, text: str) -> None:
        super().__init__(message)
        self.code = code
        self.text = text


def prediction(row: object, version: int | None, where: str) -> Prediction:
    """Returns one row of an answer.

    Args:
        row: The outputs by name: `<class>_probability`, a number, and `label`, a string.
        version: The version that gave it, where that is known.
        where: The server's address, for the error.

    Raises:
        ServingError: The model is none that classifies pictures.
    """
    if isinstance(row, Mapping):
        names = [name for name in row if name.endswith(_SUFFIX)]
        label = row.get("label")
        if len(names) == 1 and isinstance(row[names[0]], int | float) and isinstance(label, str):
            return Prediction(float(row[names[0]]), names[0].removesuffix(_SUFFIX), label, version)
    outputs = ", ".join(map(str, row)) if isinstance(row, Mapping) else f"one unnamed {type(row).__name__}"
    raise ServingError(
        f"The model at {where} answers with {outputs}, and a label and a probability are expected: is it a "
        "classifier of pictures that this project has pushed?"
    )
