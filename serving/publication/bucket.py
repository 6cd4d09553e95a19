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
from serving.publication.bucket_look import INCOMPLETE, Look
from serving.publication.history import Entry
from serving.publication.manifest import File, Manifest
from serving.publication.objects import NONE, Changed, Object, Objects
from serving.publication.place import RolledBack, Terms, already_served
from serving.publication.stock import Stock
from serving.versions import is_version

_OLD = timedelta(days=1)  # no push takes that long
_SETTLED = 5.0  # seconds; servers read models.config every second, and load a version that it names anew
_ATTEMPTS = 50


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
            self._change(lambda look: look.stock)  # the second step of a push that was killed between them
            return served
        while True:
            number = self._upload(staged, described)
            try:
                before, after = self._change(functools.partial(self._named, number, described))
            except _Overtaken:
                self._delete(number)
                continue
            except RolledBack as found:
                if found.version == number:
                    self._objects.delete(f"{number}/{INCOMPLETE}")  # it can be brought back
                else:
                    self._delete(number)
                raise
            if after.served is not None and number not in after.live:  # somebody else has pushed that model
                self._delete(number)
                return after.served
            self._objects.delete(f"{number}/{INCOMPLETE}")
            self._note(Entry("push", before.served, number, model=manifest.identity(described.files)))
            self._remove(after)
            return number

    def roll_back(self, wanted: int | None, reason: str | None = None) -> tuple[int | None, int]:
        """See `Place`."""
        target = self.stock().target(wanted, self.address)

        def change(look: Look) -> Stock:
            look.stock.target(target, self.address)  # it may be on its way out since
            if damage := self.damage(target):
                raise ServingError(
                    f"Version {target} in {self.address} is damaged ({damage}), and nothing was changed: "
                    "name another version; catsdogs models lists them."
                )
            return look.stock.rolled_back(target)

        before, _ = self._change(change)
        if before.served != target:
            self._note(Entry("rollback", before.served, target, reason=reason))
        return before.served, target

    def _look(self) -> Look:
        return Look.at(self._objects)

    def _named(self, number: int, described: Manifest, look: Look) -> Stock:
        """Returns the stock with a version that has been uploaded; without it, where its model is served.

        Raises:
            RolledBack: It was taken off since it was named, or its model was.
            _Overtaken: It would not be the newest.
        """
        if number in look.withdrawn:
            raise RolledBack(number)
        if number in look.stock.known or already_served(self, look.stock, described.files) is not None:
            return look.stock
        if look.stock.served is not None and look.stock.served > number:
            raise _Overtaken
        return look.stock.with_live(number)

    def _change(self, change: Callable[[Look], Stock]) -> tuple[Stock, Stock]:
        """Rewrites `models.config` for a change, which is asked again whenever somebody else was faster.

        A label moves to a version only after servers had the time to load it: they refuse the file before.

        Returns:
            The stock before and after.
        """
        before: Stock | None = None
        for _ in range(_ATTEMPTS):
            look = self._look()
            before = before or look.stock
            after = change(look)
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
        number = Stock(look.taken).next_number(time())
        while True:
            try:
                self._objects.write(f"{number}/{INCOMPLETE}", "being written\n", NONE)
                break
            except Changed:
                number += 1
        stamped = dataclasses.replace(described, version=number, pushed_at=history.now())
        (staged / manifest.NAME).write_text(stamped.to_json(), encoding="utf-8")
        for path in sorted(path for path in staged.rglob("*") if path.is_file()):
            self._objects.upload(path, f"{number}/{path.relative_to(staged).as_posix()}")
        return number

    def _remove(self, stock: Stock) -> None:
        """Deletes what is above the number to keep, but for what a rollback has chosen meanwhile."""
        surplus = stock.surplus(self._terms.keep_versions)
        if not surplus:
            return
        for number in surplus:
            self._mark(number)
        chosen = self._have_all_look_again().versions
        removed = [number for number in surplus if number not in chosen]
        for number in surplus:
            if number in removed:
                self._delete(number)
            else:
                self._objects.delete(f"{number}/{INCOMPLETE}")
        if removed:
            self._note(Entry("remove", stock.served, stock.served, removed=tuple(removed)))

    def _have_all_look_again(self) -> Look:
        """Writes `models.config` as it is: what others would write after an older look is refused then."""
        while True:
            look = self._look()
            try:
                if look.generation != NONE:
                    self._objects.write(models_config.NAME, look.text, look.generation)
                return look
            except Changed:
                sleep(random.uniform(0.1, 1))

    def _sweep(self) -> None:
        """Deletes what pushes and deletions that were killed have left, once it is a day old."""
        look = self._look()
        for name, found in self._objects.list().items():
            number, _, rest = name.partition("/")
            if rest != INCOMPLETE or not is_version(number):
                continue
            if int(number) in look.versions:
                self._objects.delete(name)
            elif datetime.now(UTC) - found.updated > _OLD:
                self._delete(int(number))

    def _delete(self, number: int) -> None:
        self._mark(number)
        for name in self._listed(number):
            if name != INCOMPLETE:
                self._objects.delete(f"{number}/{name}")
        self._objects.delete(f"{number}/{INCOMPLETE}")

    def _mark(self, number: int) -> None:
        with contextlib.suppress(Changed):  # it is marked already
            self._objects.write(f"{number}/{INCOMPLETE}", "being deleted\n", NONE)

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
