"""A gs:// address of served versions: nothing can be renamed there, so `models.config` says what is served.

A version is uploaded whole before that file names it. An object `.incomplete` in its folder marks it from the
first file to the naming, and again from the first deletion to the last; such a folder counts as no version.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import sleep, time

from serving.errors import ServingError
from serving.publication import history, manifest, models_config
from serving.publication.history import Entry
from serving.publication.manifest import File, Manifest
from serving.publication.objects import NONE, Changed, Object, Objects
from serving.publication.place import Terms, already_served
from serving.publication.stock import Stock

_INCOMPLETE = ".incomplete"
_OLD = timedelta(days=1)  # no push takes that long
_SETTLED = 5.0  # seconds; servers read models.config every second, and load a version that it names anew
_ATTEMPTS = 50


@dataclasses.dataclass(frozen=True)
class _Look:
    """What was found at one time.

    Attributes:
        text: Of `models.config`, and
        generation: its generation; NONE where there is none.
        versions: What it names, and
        labels: what its labels do.
        stock: The versions.
        taken: All numbers that are in use, whole or not.
    """

    text: str
    generation: int
    versions: tuple[int, ...]
    labels: dict[str, int]
    stock: Stock
    taken: tuple[int, ...]


class _Overtaken(Exception):
    """A newer version was published while this one was uploaded."""


class BucketPlace:
    """See `Place` for the methods; changes at the same time are told apart by the generation of an object.

    Args:
        address: `gs://bucket/folder`.
        terms: What is said of the model beside its files.
    """

    def __init__(self, address: str, terms: Terms) -> None:
        self._objects = Objects(address)
        self.address = self._objects.address
        self._terms = terms

    def stock(self) -> Stock:
        """See `Place`."""
        return self._look().stock

    def manifest(self, number: int) -> Manifest | None:
        """See `Place`."""
        text, generation = self._objects.read(f"{number}/{manifest.NAME}")
        return None if generation == NONE else Manifest.from_json(text)

    def files(self, number: int) -> Mapping[str, File]:
        """See `Place`; without a manifest, checksums are empty, as they are not worth a download."""
        written = self.manifest(number)
        if written:
            return written.files
        return {name: File(found.size, "") for name, found in self._listed(number).items()}

    def damage(self, number: int) -> str | None:
        """See `Place`; names and sizes are compared, contents are the store's business."""
        try:
            written = self.manifest(number)
        except ValueError:
            return f"{manifest.NAME} cannot be read"
        found = self._listed(number)
        wanted = written.files if written else {manifest.SAVED_MODEL: None}
        for name, pushed in wanted.items():
            if name not in found:
                return f"{name} is missing"
            if pushed and found[name].size != pushed.size:
                return f"{name} has {found[name].size:,} bytes and was pushed with {pushed.size:,}"
        return None

    def size(self, number: int) -> int:
        """See `Place`."""
        return sum(found.size for found in self._listed(number).values())

    def history(self) -> list[Entry]:
        """See `Place`."""
        return history.parse(self._objects.read(history.NAME)[0].decode(errors="replace"))

    @contextlib.contextmanager
    def staging(self) -> Iterator[Path]:
        """See `Place`."""
        with tempfile.TemporaryDirectory(prefix="catsdogs-push-") as folder:
            yield Path(folder)

    def publish(self, staged: Path, described: Manifest) -> int:
        """See `Place`."""
        self._sweep()
        served = already_served(self, self.stock(), described.files)
        if served is not None:
            self._change(lambda stock: stock)  # where a push was killed between two steps, the second is made
            return served
        while True:
            number = self._upload(staged, described)
            try:
                before, after = self._change(functools.partial(_with, number))
            except _Overtaken:
                self._delete(number)
                continue
            self._objects.delete(f"{number}/{_INCOMPLETE}")
            self._note(Entry("push", before.served, number, model=manifest.identity(described.files)))
            self._remove(after)
            return number

    def roll_back(self, wanted: int | None, reason: str | None = None) -> tuple[int | None, int]:
        """See `Place`."""
        target = self.stock().target(wanted, self.address)
        if damage := self.damage(target):
            raise ServingError(
                f"Version {target} in {self.address} is damaged ({damage}), and nothing was changed: "
                "name another version; catsdogs models lists them."
            )
        before, _ = self._change(lambda stock: stock.rolled_back(target))
        if before.served != target:
            self._note(Entry("rollback", before.served, target, reason=reason))
        return before.served, target

    def _look(self) -> _Look:
        contents, generation = self._objects.read(models_config.NAME)
        text = contents.decode(errors="replace")
        versions: tuple[int, ...] = ()
        labels: dict[str, int] = {}
        withdrawn: tuple[int, ...] = ()
        if generation != NONE:
            try:
                versions, labels, withdrawn = models_config.read(text)
            except ValueError as error:
                raise ServingError(
                    f"{self.address}/{models_config.NAME} cannot be read ({error}): put back what catsdogs "
                    "wrote there, or delete it to have the newest version served."
                ) from error
        listed = self._objects.list()
        taken = sorted({int(name.split("/")[0]) for name in listed if name.split("/")[0].isdecimal()})
        whole = {
            number
            for number in taken
            if f"{number}/{manifest.SAVED_MODEL}" in listed and f"{number}/{_INCOMPLETE}" not in listed
        }
        live = {
            number for number in whole if number not in withdrawn and (not versions or number < versions[-1])
        } | set(versions)
        return _Look(
            text,
            generation,
            versions,
            labels,
            Stock(tuple(sorted(live)), tuple(sorted(whole & set(withdrawn) - live))),
            tuple(taken),
        )

    def _change(self, change: Callable[[Stock], Stock]) -> tuple[Stock, Stock]:
        """Rewrites `models.config` for a change, which is asked again whenever somebody else was faster.

        A label moves to a version only after servers had the time to load it: they refuse the file before.

        Returns:
            The stock before and after.
        """
        before: Stock | None = None
        for _ in range(_ATTEMPTS):
            look = self._look()
            before = before or look.stock
            after = change(look.stock)
            labels = models_config.labels(after)
            wanted = set(labels.values())
            is_last = not look.labels or wanted <= set(look.versions)
            text = models_config.of_bucket(
                after if is_last else look.stock,
                self._terms.model_name,
                self._terms.base_path,
                wanted if is_last else wanted | set(look.versions),
                labels if is_last else look.labels,
            )
            try:
                if text != look.text:
                    self._objects.write(models_config.NAME, text, look.generation)
            except Changed:
                sleep(random.uniform(0.1, 1))
                continue
            if is_last:
                return before, after
            sleep(_SETTLED)
        raise ServingError(
            f"{self.address}/{models_config.NAME} was changed by others {_ATTEMPTS} times in a row: repeat "
            "the command when they have ended."
        )

    def _upload(self, staged: Path, described: Manifest) -> int:
        """Uploads a version under a number that nobody else has; returns the number."""
        look = self._look()
        number = max(look.stock.next_number(time()), look.taken[-1] + 1 if look.taken else 0)
        while True:
            try:
                self._objects.write(f"{number}/{_INCOMPLETE}", "being written\n", NONE)
                break
            except Changed:
                number += 1
        stamped = dataclasses.replace(described, version=number, pushed_at=history.now())
        (staged / manifest.NAME).write_text(stamped.to_json(), encoding="utf-8")
        for path in sorted(path for path in staged.rglob("*") if path.is_file()):
            self._objects.upload(path, f"{number}/{path.relative_to(staged).as_posix()}")
        return number

    def _remove(self, stock: Stock) -> None:
        surplus = stock.surplus(self._terms.keep_versions)
        for number in surplus:
            self._delete(number)
        if surplus:
            self._note(Entry("remove", stock.served, stock.served, removed=tuple(surplus)))

    def _sweep(self) -> None:
        """Deletes what pushes and deletions that were killed have left, once it is a day old."""
        look = self._look()
        for name, found in self._objects.list().items():
            number, _, rest = name.partition("/")
            if rest != _INCOMPLETE or not number.isdecimal():
                continue
            if int(number) in look.versions:
                self._objects.delete(name)
            elif datetime.now(UTC) - found.updated > _OLD:
                self._delete(int(number))

    def _delete(self, number: int) -> None:
        marker = f"{number}/{_INCOMPLETE}"
        with contextlib.suppress(Changed):  # it is marked already
            self._objects.write(marker, "being deleted\n", NONE)
        for name in self._listed(number):
            if name != _INCOMPLETE:
                self._objects.delete(f"{number}/{name}")
        self._objects.delete(marker)

    def _listed(self, number: int) -> dict[str, Object]:
        found = self._objects.list(f"{number}/")
        return {name.partition("/")[2]: one for name, one in found.items()}

    def _note(self, entry: Entry) -> None:
        while True:
            contents, generation = self._objects.read(history.NAME)
            try:
                self._objects.write(
                    history.NAME, contents.decode(errors="replace") + entry.line(), generation
                )
                return
            except Changed:
                sleep(random.uniform(0.1, 1))


def _with(number: int, stock: Stock) -> Stock:
    """Returns the stock with a version that has been uploaded.

    Raises:
        _Overtaken: It would not be the newest.
    """
    if number in stock.known:
        return stock
    if stock.served is not None and stock.served > number:
        raise _Overtaken
    return stock.with_live(number)
