"""The models that are served: their folders are watched, and versions come and go without a lost request."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Collection, Mapping
from math import inf
from pathlib import Path
from typing import NamedTuple

from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving.errors import UsageError
from serving.local import model_versions
from serving.local.model_versions import AVAILABLE, END, LOADING, START, UNLOADING, Version
from serving.local.models_config import ModelConfig, Source, configs, label_refused
from serving.local.servable import Servable
from serving.local.status import StatusError, invalid_argument, not_found

__all__ = ["Models", "configs"]

_log = logging.getLogger(__name__)


class _View(NamedTuple):
    """What requests see: the versions' numbers by model and label, and what answers by model and number."""

    labels: Mapping[str, Mapping[str, int]]
    serving: Mapping[str, Mapping[int, Servable]]


class Models:
    """Keeps in memory what is to be served; safe to use from several threads.

    What is to be served is looked up every `poll_seconds`. A new version is loaded and warmed up in a thread
    of its own while the old one answers, and takes its place when it is ready. The old one then goes, and
    leaves the memory when the last request that holds it is answered.

    Args:
        source: Says what is to be served, as `configs` returns it.
        poll_seconds: How often it is asked, and the folders are looked at.
        load_retries: How often a version is tried again that cannot be loaded.
        retry_seconds: How long after. Other files in its place are tried at once.
    """

    def __init__(
        self, source: Source, poll_seconds: float = 1.0, load_retries: int = 5, retry_seconds: float = 60.0
    ) -> None:
        self._source = source
        self._poll_seconds = poll_seconds
        self._load_retries = load_retries
        self._retry_seconds = retry_seconds
        self._configs: Mapping[str, ModelConfig] = {config.name: config for config in source()}
        self._versions: dict[str, dict[int, Version]] = {}
        self._view = _View({}, {})  # replaced, never changed, so that who asks need not wait
        self._complaints: dict[str, str] = {}
        self._lock = threading.Condition()
        self._looked = False
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._watch, name="watch models", daemon=True),
            threading.Thread(target=self._load_versions, name="load models", daemon=True),
        ]

    def names(self) -> list[str]:
        """Returns what requests call the models."""
        return list(self._configs)

    def find(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """Returns what answers a request; whoever holds it may use it, even if it is replaced meanwhile.

        Args:
            name: The model's name.
            version: A version's number, or None.
            label: A version's label, or None; where both are None, the newest version answers.

        Raises:
            StatusError: There is no such version in memory.
        """
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        view = self._view
        if label is not None:
            version = view.labels.get(name, {}).get(label)
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {label}")
        serving = view.serving.get(name, {})
        if version is None and serving:
            return serving[max(serving)]
        if version is not None and version in serving:
            return serving[version]
        asked = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise not_found(f"Servable not found for request: {asked}")

    def statuses(self, name: str, version: int | None = None) -> list[ModelVersionStatus]:
        """Returns the states of a model's versions, the newest first; also of those that were served before.

        Args:
            name: The model's name.
            version: A version's number; None means all.

        Raises:
            StatusError: There are none.
        """
        with self._lock:
            known = self._versions.get(name, {})
            if version is not None:
                if version not in known:
                    raise not_found(f"Could not find version {version} of model {name}")
                return [known[version].status()]
            if not known:
                raise not_found(f"Could not find any versions of model {name}")
            return [known[number].status() for number in sorted(known, reverse=True)]

    def start(self) -> None:
        """Begins to look and to load."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Lets all versions go, after the one that is being loaded."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()
        with self._lock:
            for name in list(self._versions):
                for version in self._versions[name].values():
                    if version.servable:
                        self._let_go(name, version)

    def wait_until_loaded(self, timeout: float | None = None) -> bool:
        """Waits until every version that is to be served is in memory or failed to get there once.

        Args:
            timeout: In seconds; None means no end.

        Returns:
            False where the time is up.
        """
        with self._lock:
            return self._lock.wait_for(
                lambda: (
                    self._looked
                    and not any(
                        version.new for versions in self._versions.values() for version in versions.values()
                    )
                ),
                timeout,
            )

    def _watch(self) -> None:
        while True:
            started = time.monotonic()
            try:
                self._look()
            except Exception:  # whatever happens to the disk, what is in memory goes on answering
                _log.exception("cannot look at the models")
            with self._lock:
                self._looked = True
                self._lock.notify_all()
                left = self._poll_seconds - (time.monotonic() - started)
                if self._lock.wait_for(lambda: self._stopping, max(left, 0.01)):
                    return

    def _look(self) -> None:
        """Finds out what is to be served."""
        try:
            asked: Mapping[str, ModelConfig] | None = {config.name: config for config in self._source()}
            self._complain("config", "")
        except UsageError as error:
            asked = None
            self._complain("config", f"{error} What was served before is served on.")
        if asked is not None:
            with self._lock:
                self._reconfigure(asked)
        for name, config in self._configs.items():
            about = f"model {name}"
            folders = model_versions.found(config.folder)
            if folders is None:
                self._complain(about, f"Could not find base path {config.folder} for servable {name}")
                continue
            wanted = {number: folders[number] for number in config.chosen(folders)}
            none = f"No versions of servable {name} found under base path {config.folder}"
            self._complain(about, "" if wanted else none)
            stamps = {number: model_versions.stamp(folder) for number, folder in wanted.items()}
            with self._lock:
                for number, folder in wanted.items():
                    self._aspire(name, number, folder, stamps[number])
                self._give_up(name, keep=wanted)

    def _reconfigure(self, asked: Mapping[str, ModelConfig]) -> None:
        """Takes over what is asked for, unless a label in use is to move to a version that is not loaded."""
        refused = label_refused(asked, self._view.labels, self._view.serving)
        self._complain("labels", refused)
        if refused:
            return
        labels = {name: dict(config.labels) for name, config in asked.items()}
        self._view = _View(labels, self._view.serving)
        for name in self._configs.keys() - asked.keys():
            self._give_up(name, keep={})
        self._configs = dict(asked)

    def _aspire(self, name: str, number: int, folder: Path, stamp: object) -> None:
        """Notes that a version is to be served."""
        versions = self._versions.setdefault(name, {})
        version = versions.get(number)
        if version is not None and not version.aspired:
            version.aspired = version.state in (START, LOADING, AVAILABLE)
        gone = version is None or not version.aspired
        mended = version is not None and version.error and version.load_at < inf and version.stamp != stamp
        if gone or mended:
            versions[number] = Version(number, folder, stamp)

    def _give_up(self, name: str, keep: Collection[int]) -> None:
        """Notes that all other versions are not to be served any more, and lets go what may go."""
        versions = self._versions.get(name, {}).values()
        for version in versions:
            if version.number not in keep and version.aspired:
                version.aspired = False
                if version.state in (START, LOADING) and version.load_at < inf:
                    version.state = END
        self._unload(name)

    def _load_versions(self) -> None:
        while (next_one := self._next()) is not None:
            self._load(*next_one)
            del next_one

    def _next(self) -> tuple[str, Version] | None:
        """Waits for a version to load; returns None when there will be none."""
        with self._lock:
            while not self._stopping:
                found = model_versions.to_load(self._versions, time.monotonic())
                if found:
                    found[1].state = LOADING
                    found[1].load_at = inf
                    return found
                self._lock.wait(self._poll_seconds)
        return None

    def _load(self, name: str, version: Version) -> None:
        loaded = version.load(name)
        with self._lock:
            if isinstance(loaded, StatusError):
                self._failed(name, version, loaded)
            elif version.aspired:
                version.servable, version.state, version.error = loaded, AVAILABLE, None
                self._serve(name)
                self._unload(name)
            else:
                version.state = END
            self._lock.notify_all()

    def _failed(self, name: str, version: Version, failure: StatusError) -> None:
        version.error = failure
        version.attempts += 1
        if version.aspired and version.attempts <= self._load_retries:
            version.load_at = time.monotonic() + self._retry_seconds
            then = f"the next try is in {self._retry_seconds:g} s, and earlier if its files change"
        else:
            version.load_at, version.state = 0.0, END
            then = "it is not tried again until its files change"
        _log.error("cannot load %s version %d: %s (%s)", name, version.number, failure.message, then)

    def _unload(self, name: str) -> None:
        for version in model_versions.to_unload(self._versions.get(name, {}).values()):
            self._let_go(name, version)

    def _let_go(self, name: str, version: Version) -> None:
        """Takes a version out of service; it is gone when the last request that holds it is answered."""
        servable, version.servable = version.servable, None
        version.state = UNLOADING
        self._serve(name)
        weakref.finalize(servable, self._gone, name, version).atexit = False

    @staticmethod
    def _gone(name: str, version: Version) -> None:
        """Runs wherever the last reference goes, in the garbage collector too, and so takes no lock."""
        version.state = END
        _log.info("unloaded %s version %d", name, version.number)

    def _serve(self, name: str) -> None:
        """Hands the versions that are AVAILABLE to those who ask from now on."""
        versions = self._versions[name].values()
        serving = {version.number: version.servable for version in versions if version.servable}
        self._view = _View(self._view.labels, {**self._view.serving, name: serving})

    def _complain(self, about: str, text: str) -> None:
        """Logs what is wrong, once; an empty text says that nothing is."""
        if text and self._complaints.get(about) != text:
            _log.warning("%s", text)
        self._complaints[about] = text
