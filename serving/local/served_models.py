"""The served models: watches their folders, and loads and unloads versions without losing a request."""

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
from serving.local import aspired_versions
from serving.local.aspired_versions import AVAILABLE, END, LOADING, START, UNLOADING, ServableVersion
from serving.local.models_config import ConfigSource, ServedModelConfig, find_label_conflict
from serving.local.servable import Servable
from serving.local.status import StatusError, invalid_argument, not_found

_log = logging.getLogger(__name__)


class _Snapshot(NamedTuple):
    """The state that requests read without a lock.

    Attributes:
        labels: Version numbers by model and label.
        servables: Loaded versions by model and number.
    """

    labels: Mapping[str, Mapping[str, int]]
    servables: Mapping[str, Mapping[int, Servable]]


class ServedModels:
    """Keeps the aspired versions of all models in memory. Thread-safe.

    One thread polls the config and the folders, another loads versions. A new version is loaded and warmed up
    while the old one serves, then replaces it. The old one is freed when the last request that uses it has
    completed.

    Args:
        source: Returns the models to serve; see `config_source`.
        poll_seconds: Time between polls of the source and the folders.
        load_retries: Number of times that loading a version is retried.
        retry_seconds: Time between retries. If the version's files change, it is retried at once.
    """

    def __init__(
        self,
        source: ConfigSource,
        poll_seconds: float = 1.0,
        load_retries: int = 5,
        retry_seconds: float = 60.0,
    ) -> None:
        self._source = source
        self._poll_seconds = poll_seconds
        self._load_retries = load_retries
        self._retry_seconds = retry_seconds
        self._configs: Mapping[str, ServedModelConfig] = {config.name: config for config in source()}
        self._versions: dict[str, dict[int, ServableVersion]] = {}
        self._snapshot = _Snapshot({}, {})  # replaced and never changed, so that requests need no lock
        self._warnings: dict[str, str] = {}
        self._lock = threading.Condition()
        self._has_polled = False
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._poll_forever, name="poll models", daemon=True),
            threading.Thread(target=self._load_forever, name="load models", daemon=True),
        ]

    def names(self) -> list[str]:
        """Returns the names of the models."""
        return list(self._configs)

    def get_servable(self, name: str, version: int | None = None, label: str | None = None) -> Servable:
        """Returns the loaded version for a request; it stays usable even if it is unloaded in the meantime.

        Args:
            name: The model's name.
            version: A version number, or None.
            label: A version label, or None. Without a version and a label, the newest version is returned.

        Raises:
            StatusError: The version is not loaded.
        """
        if not name:
            raise invalid_argument("ModelSpec has no name specified.")
        snapshot = self._snapshot
        if label is not None:
            version = snapshot.labels.get(name, {}).get(label)
            if version is None:
                raise invalid_argument(f"Unrecognized servable version label: {label}")
        servables = snapshot.servables.get(name, {})
        if version is None and servables:
            return servables[max(servables)]
        if version is not None and version in servables:
            return servables[version]
        request = f"Latest({name})" if version is None else f"Specific({name}, {version})"
        raise not_found(f"Servable not found for request: {request}")

    def statuses(self, name: str, version: int | None = None) -> list[ModelVersionStatus]:
        """Returns the states of a model's versions, the newest first, including unloaded ones.

        Args:
            name: The model's name.
            version: A version number; None means all.

        Raises:
            StatusError: There are none.
        """
        with self._lock:
            versions = self._versions.get(name, {})
            if version is not None:
                if version not in versions:
                    raise not_found(f"Could not find version {version} of model {name}")
                return [versions[version].status()]
            if not versions:
                raise not_found(f"Could not find any versions of model {name}")
            return [versions[number].status() for number in sorted(versions, reverse=True)]

    def start(self) -> None:
        """Starts to poll and to load."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Unloads all versions, once the version that is loading has loaded."""
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()
        with self._lock:
            for name in list(self._versions):
                for version in self._versions[name].values():
                    if version.servable:
                        self._unload(name, version)

    def wait_until_loaded(self, timeout: float | None = None) -> bool:
        """Waits until every aspired version is in memory or has failed to load once.

        Args:
            timeout: In seconds; None means no limit.

        Returns:
            False if the timeout expired.
        """
        with self._lock:
            return self._lock.wait_for(
                lambda: (
                    self._has_polled
                    and not any(
                        version.is_pending
                        for versions in self._versions.values()
                        for version in versions.values()
                    )
                ),
                timeout,
            )

    def _poll_forever(self) -> None:
        while True:
            started = time.monotonic()
            try:
                self._poll()
            except Exception:  # disk errors must not stop the versions in memory from serving
                _log.exception("cannot poll the models")
            with self._lock:
                self._has_polled = True
                self._lock.notify_all()
                remaining = self._poll_seconds - (time.monotonic() - started)
                if self._lock.wait_for(lambda: self._stopping, max(remaining, 0.01)):
                    return

    def _poll(self) -> None:
        """Reads the config and the folders, and updates the aspired versions."""
        try:
            configs: Mapping[str, ServedModelConfig] | None = {
                config.name: config for config in self._source()
            }
            self._warn_once("config", "")
        except UsageError as error:
            configs = None
            self._warn_once("config", f"{error} The previous config stays in effect.")
        if configs is not None:
            with self._lock:
                self._reconfigure(configs)
        for name, config in self._configs.items():
            topic = f"model {name}"
            folders = aspired_versions.list_versions(config.folder)
            if folders is None:
                self._warn_once(topic, f"Could not find base path {config.folder} for servable {name}")
                continue
            aspired = {number: folders[number] for number in config.select_versions(folders)}
            none_found = f"No versions of servable {name} found under base path {config.folder}"
            self._warn_once(topic, "" if aspired else none_found)
            fingerprints = {
                number: aspired_versions.fingerprint(folder) for number, folder in aspired.items()
            }
            with self._lock:
                for number, folder in aspired.items():
                    self._aspire(name, number, folder, fingerprints[number])
                self._retire(name, keep=aspired)

    def _reconfigure(self, configs: Mapping[str, ServedModelConfig]) -> None:
        """Applies a config, unless it moves a label in use to a version that is not loaded."""
        conflict = find_label_conflict(configs, self._snapshot.labels, self._snapshot.servables)
        self._warn_once("labels", conflict)
        if conflict:
            return
        labels = {name: dict(config.labels) for name, config in configs.items()}
        self._snapshot = _Snapshot(labels, self._snapshot.servables)
        for name in self._configs.keys() - configs.keys():
            self._retire(name, keep={})
        self._configs = dict(configs)

    def _aspire(self, name: str, number: int, folder: Path, fingerprint: object) -> None:
        """Marks a version as aspired."""
        versions = self._versions.setdefault(name, {})
        version = versions.get(number)
        if version is not None and not version.is_aspired:
            version.is_aspired = version.state in (START, LOADING, AVAILABLE)
        is_new = version is None or not version.is_aspired
        is_replaced = (
            version is not None
            and version.error
            and version.load_at < inf
            and version.fingerprint != fingerprint
        )
        if is_new or is_replaced:
            versions[number] = ServableVersion(number, folder, fingerprint)

    def _retire(self, name: str, keep: Collection[int]) -> None:
        """Marks all other versions as not aspired, and unloads those that the policy allows to."""
        for version in self._versions.get(name, {}).values():
            if version.number not in keep and version.is_aspired:
                version.is_aspired = False
                if version.state in (START, LOADING) and version.load_at < inf:
                    version.state = END
        self._unload_unwanted(name)

    def _load_forever(self) -> None:
        while (due := self._wait_for_due()) is not None:
            self._load(*due)
            del due  # it must not keep the version in memory

    def _wait_for_due(self) -> tuple[str, ServableVersion] | None:
        """Waits for a version to load; returns None when the server stops."""
        with self._lock:
            while not self._stopping:
                due = aspired_versions.next_to_load(self._versions, time.monotonic())
                if due:
                    due[1].state = LOADING
                    due[1].load_at = inf
                    return due
                self._lock.wait(self._poll_seconds)
        return None

    def _load(self, name: str, version: ServableVersion) -> None:
        loaded = version.load(name)
        with self._lock:
            if isinstance(loaded, StatusError):
                self._record_failure(name, version, loaded)
            elif version.is_aspired:
                version.servable, version.state, version.error = loaded, AVAILABLE, None
                self._publish(name)
                self._unload_unwanted(name)
            else:
                version.state = END
            self._lock.notify_all()

    def _record_failure(self, name: str, version: ServableVersion, error: StatusError) -> None:
        version.error = error
        version.failures += 1
        if version.is_aspired and version.failures <= self._load_retries:
            version.load_at = time.monotonic() + self._retry_seconds
            retry = f"retry in {self._retry_seconds:g} s, or when its files change"
        else:
            version.load_at, version.state = 0.0, END
            retry = "no retry until its files change"
        _log.error("cannot load %s version %d: %s (%s)", name, version.number, error.message, retry)

    def _unload_unwanted(self, name: str) -> None:
        for version in aspired_versions.versions_to_unload(self._versions.get(name, {}).values()):
            self._unload(name, version)

    def _unload(self, name: str, version: ServableVersion) -> None:
        """Stops serving a version; its memory is released after the last request that uses it."""
        servable, version.servable = version.servable, None
        version.state = UNLOADING
        self._publish(name)
        weakref.finalize(servable, self._mark_unloaded, name, version).atexit = False

    @staticmethod
    def _mark_unloaded(name: str, version: ServableVersion) -> None:
        """Takes no lock: it may run in the garbage collector, or any thread that drops the last reference."""
        version.state = END
        _log.info("unloaded %s version %d", name, version.number)

    def _publish(self, name: str) -> None:
        """Makes the AVAILABLE versions of a model visible to new requests."""
        versions = self._versions[name].values()
        servables = {version.number: version.servable for version in versions if version.servable}
        self._snapshot = _Snapshot(self._snapshot.labels, {**self._snapshot.servables, name: servables})

    def _warn_once(self, topic: str, message: str) -> None:
        """Logs a warning when it changes; an empty message means that the problem is solved."""
        if message and self._warnings.get(topic) != message:
            _log.warning("%s", message)
        self._warnings[topic] = message
