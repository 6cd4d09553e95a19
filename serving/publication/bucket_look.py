"""What a gs:// address of served versions holds at one time: `models.config`, and the versions."""

from __future__ import annotations

import dataclasses

from serving.errors import ServingError
from serving.publication import manifest, models_config
from serving.publication.objects import NONE, Objects
from serving.publication.stock import Stock
from serving.versions import is_version

INCOMPLETE = ".incomplete"


@dataclasses.dataclass(frozen=True)
class Look:
    """What was found.

    Attributes:
        text: Of `models.config`, and
        generation: its generation; NONE where there is none.
        versions: What it names,
        labels: what its labels do, and
        withdrawn: what it says was rolled back, whole or not, there or not.
        stock: The versions.
        taken: All numbers that are in use, whole or not.
    """

    text: str
    generation: int
    versions: tuple[int, ...]
    labels: dict[str, int]
    withdrawn: tuple[int, ...]
    stock: Stock
    taken: tuple[int, ...]

    @classmethod
    def at(cls, objects: Objects) -> Look:
        """Looks at an address.

        Raises:
            ServingError: It cannot be used, or `models.config` cannot be read.
        """
        contents, generation = objects.read(models_config.NAME)
        text = contents.decode(errors="replace")
        versions: tuple[int, ...] = ()
        labels: dict[str, int] = {}
        withdrawn: tuple[int, ...] = ()
        if generation != NONE:
            try:
                versions, labels, withdrawn = models_config.read(text)
            except ValueError as error:
                raise ServingError(
                    f"{objects.address}/{models_config.NAME} cannot be read ({error}): put back what "
                    "catsdogs wrote there, or delete it to have the newest version served."
                ) from error
        listed = objects.list()
        there = {int(folder) for name in listed if is_version(folder := name.split("/")[0])}
        whole = {
            number
            for number in there
            if f"{number}/{manifest.SAVED_MODEL}" in listed and f"{number}/{INCOMPLETE}" not in listed
        }
        live = {
            number for number in whole if number not in withdrawn and (not versions or number < versions[-1])
        } | set(versions)
        return cls(
            text,
            generation,
            versions,
            labels,
            tuple(number for number in withdrawn if number not in versions),
            Stock(tuple(sorted(live)), tuple(sorted(whole & set(withdrawn) - live))),
            tuple(sorted({*there, *versions, *withdrawn})),
        )
