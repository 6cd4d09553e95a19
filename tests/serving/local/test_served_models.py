from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from tensorflow_serving.apis.get_model_status_pb2 import ModelVersionStatus

from serving import warmup
from serving.local import aspired_versions
from serving.local.models_config import config_source
from serving.local.servable import Servable
from serving.local.served_models import ServedModels
from serving.local.status import StatusError
from tests.serving import bad_images, saved_models

State = ModelVersionStatus.State
POLL = 0.05


@contextmanager
def served(folder: Path, load_retries: int = 5, retry_seconds: float = 60.0) -> Iterator[ServedModels]:
    """Serves the model `m` of a folder, once its versions are loaded or have failed."""
    watched = ServedModels(config_source("m", folder), POLL, load_retries, retry_seconds)
    watched.start()
    try:
        assert watched.wait_until_loaded(20)
        yield watched
    finally:
        watched.stop()


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.01)


def served_version(servable: Servable) -> int:
    """Returns the version that the model itself returns."""
    return int(servable.run("", {"x": np.zeros(1, np.float32)})["version"][0])


def newest(watched: ServedModels) -> int:
    return watched.get_servable("m").version


def newest_or_none(watched: ServedModels) -> int | None:
    try:
        return newest(watched)
    except StatusError:
        return None


def states(watched: ServedModels) -> dict[int, str]:
    return {status.version: State.Name(status.state) for status in watched.statuses("m")}


def write_config(folder: Path, policy: str, labels: dict[str, int]) -> None:
    lines = "".join(f'version_labels {{ key: "{name}" value: {number} }} ' for name, number in labels.items())
    temporary_path = folder / ".models.config"
    temporary_path.write_text(
        'model_config_list { config { name: "m" base_path: "/somewhere/else" model_platform: "tensorflow" '
        f"model_version_policy {{ {policy} }} {lines} }} }}"
    )
    temporary_path.rename(folder / "models.config")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "m"
    made.mkdir()
    return made


class TestFind:
    def test_finds_the_newest_or_the_requested_version(self, folder: Path) -> None:
        saved_models.versioned(folder, 7)
        with served(folder) as watched:
            assert (
                served_version(watched.get_servable("m")) == served_version(watched.get_servable("m", 7)) == 7
            )
            assert watched.names() == ["m"]
            for sent, code, named in (
                (("nope",), grpc.StatusCode.NOT_FOUND, "Latest(nope)"),
                (("m", 99), grpc.StatusCode.NOT_FOUND, "Specific(m, 99)"),
                (("m", 0), grpc.StatusCode.NOT_FOUND, "Specific(m, 0)"),
                (("m", None, "stable"), grpc.StatusCode.INVALID_ARGUMENT, "stable"),
                (("",), grpc.StatusCode.INVALID_ARGUMENT, ""),
            ):
                with pytest.raises(StatusError) as refused:
                    watched.get_servable(*sent)
                assert refused.value.code == code
                assert named in refused.value.message

    def test_the_status_of_an_unknown_version_is_an_error(self, folder: Path) -> None:
        saved_models.versioned(folder, 7)
        with served(folder) as watched:
            assert states(watched) == {7: "AVAILABLE"}
            assert watched.statuses("m", 7)[0].status.error_code == 0
            with pytest.raises(StatusError, match="nope"):
                watched.statuses("nope")
            with pytest.raises(StatusError, match="version 8 "):
                watched.statuses("m", 8)


class TestLoadingAndUnloading:
    def test_loads_the_first_version_of_an_empty_folder(self, folder: Path) -> None:
        with served(folder) as watched:
            with pytest.raises(StatusError, match=r"Latest\(m\)"):
                watched.get_servable("m")
            saved_models.versioned(folder, 1)
            until(lambda: newest_or_none(watched) == 1)
            assert served_version(watched.get_servable("m")) == 1

    def test_follows_a_push_and_a_rollback(self, folder: Path) -> None:
        saved_models.versioned(folder, 1)
        with served(folder) as watched:
            saved_models.versioned(folder, 2)
            until(lambda: states(watched) == {1: "END", 2: "AVAILABLE"})
            assert served_version(watched.get_servable("m")) == 2
            (folder / "2").rename(folder / "withdrawn-2")
            until(lambda: states(watched) == {1: "AVAILABLE", 2: "END"})
            assert served_version(watched.get_servable("m")) == 1
            (folder / "withdrawn-2").rename(folder / "2")
            until(lambda: states(watched) == {1: "END", 2: "AVAILABLE"})
            assert [status.version for status in watched.statuses("m")] == [2, 1]

    def test_unloads_for_an_empty_folder_but_not_for_a_missing_one(self, folder: Path) -> None:
        saved_models.versioned(folder, 1)
        with served(folder) as watched:
            folder.rename(folder.with_name("elsewhere"))
            time.sleep(5 * POLL)
            assert newest(watched) == 1
            folder.mkdir()
            until(lambda: states(watched) == {1: "END"})
            with pytest.raises(StatusError, match=r"Latest\(m\)"):
                watched.get_servable("m")

    def test_frees_a_version_after_its_last_request(self, folder: Path) -> None:
        saved_models.versioned(folder, 1)
        gc.disable()  # so that only reference counts free the version
        try:
            with served(folder) as watched:
                held = watched.get_servable("m")
                session = weakref.ref(held._session)
                saved_models.versioned(folder, 2)
                until(lambda: newest(watched) == 2)
                assert states(watched) == {1: "UNLOADING", 2: "AVAILABLE"}
                assert served_version(held) == 1
                del held
                assert states(watched) == {1: "END", 2: "AVAILABLE"}
                assert session() is None
        finally:
            gc.enable()

    @pytest.fixture
    def held(self, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
        """Loading version 2 sets the first event, and waits for the second."""
        loading, go_on = threading.Event(), threading.Event()
        from serving.local.warmup import replay_requests

        def slow(servable: Servable, version: Path) -> int:
            if servable.version == 2:
                loading.set()
                assert go_on.wait(20)
            return replay_requests(servable, version)

        monkeypatch.setattr(aspired_versions, "replay_requests", slow)
        return loading, go_on

    def test_serves_the_old_version_while_a_new_one_loads(
        self, folder: Path, held: tuple[threading.Event, threading.Event]
    ) -> None:
        loading, go_on = held
        saved_models.versioned(folder, 1)
        with served(folder) as watched:
            saved_models.versioned(folder, 2)
            assert loading.wait(20)
            assert states(watched) == {1: "AVAILABLE", 2: "LOADING"}
            assert served_version(watched.get_servable("m")) == 1
            assert not watched.wait_until_loaded(0)
            go_on.set()
            until(lambda: newest(watched) == 2)

    def test_does_not_serve_a_version_that_is_removed_while_it_loads(
        self, folder: Path, held: tuple[threading.Event, threading.Event]
    ) -> None:
        loading, go_on = held
        saved_models.versioned(folder, 1)
        with served(folder) as watched:
            saved_models.versioned(folder, 2)
            assert loading.wait(20)
            (folder / "2").rename(folder / "withdrawn-2")
            time.sleep(5 * POLL)
            go_on.set()
            until(lambda: states(watched) == {1: "AVAILABLE", 2: "END"})
            assert newest(watched) == 1


class TestFailedLoads:
    def test_keeps_serving_the_old_version_and_reports_the_error(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        saved_models.versioned(folder, 1)
        with served(folder) as watched:
            (folder / "2").mkdir()
            until(lambda: bool(watched.statuses("m")[0].status.error_code))
            [broken] = watched.statuses("m", 2)
            assert broken.state == State.LOADING
            assert broken.status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
            assert str(folder / "2") in broken.status.error_message
            assert newest(watched) == 1
            assert watched.wait_until_loaded(1)  # returns at once
        assert "m version 2" in caplog.text
        assert "60 s" in caplog.text

    def test_retries_a_limited_number_of_times(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        (folder / "2").mkdir()
        with served(folder, load_retries=2, retry_seconds=0.1) as watched:
            until(lambda: states(watched) == {2: "END"})
            assert watched.statuses("m")[0].status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
            time.sleep(0.3)
        assert caplog.text.count("m version 2") == 3

    @pytest.mark.parametrize("load_retries", [0, 5])
    def test_retries_at_once_when_files_change(self, folder: Path, load_retries: int) -> None:
        (folder / "2").mkdir()
        with served(folder, load_retries=load_retries) as watched:
            assert states(watched) == {2: "END" if load_retries == 0 else "LOADING"}
            (folder / "2").rename(folder / "broken")
            saved_models.versioned(folder, 2)
            until(lambda: states(watched) == {2: "AVAILABLE"})
            assert not watched.statuses("m")[0].status.error_message

    def test_a_broken_version_does_not_delay_a_good_one(self, folder: Path) -> None:
        (folder / "2").mkdir()
        with served(folder) as watched:
            saved_models.versioned(folder, 3)
            until(lambda: newest_or_none(watched) == 3)

    def test_a_failing_warm_up_request_fails_the_load(self, folder: Path, tmp_path: Path) -> None:
        staged = saved_models.classifier(tmp_path / "staged", 5)
        warmup.write_requests(
            staged / warmup.REQUESTS_FILE, "m", [bad_images.encode("JPEG"), b"not an image"]
        )
        staged.rename(folder / "5")
        with served(folder) as watched:
            [status] = watched.statuses("m")
            assert status.status.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
            with pytest.raises(StatusError, match=r"Latest\(m\)"):
                watched.get_servable("m")

    def test_a_failed_load_leaves_nothing_in_memory(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[weakref.ref] = []

        def fails(servable: Servable, version: Path) -> int:
            seen.append(weakref.ref(servable))
            return len(servable.run("", {})) or 1

        monkeypatch.setattr(aspired_versions, "replay_requests", fails)
        saved_models.versioned(folder, 1)
        gc.disable()
        try:
            with served(folder) as watched:
                assert watched.statuses("m")[0].status.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
                assert [servable() for servable in seen] == [None]
        finally:
            gc.enable()


class TestModelsConfig:
    def test_applies_a_new_policy_while_serving(self, folder: Path) -> None:
        for number in (1, 2, 3):
            saved_models.versioned(folder, number)
        with served(folder) as watched:
            assert states(watched) == {3: "AVAILABLE"}
            write_config(folder, "specific { versions: 1 versions: 2 }", {})
            until(lambda: states(watched) == {1: "AVAILABLE", 2: "AVAILABLE", 3: "END"})
            assert served_version(watched.get_servable("m")) == 2
            assert served_version(watched.get_servable("m", 1)) == 1
            write_config(folder, "latest { num_versions: 2 }", {})
            until(lambda: states(watched) == {1: "END", 2: "AVAILABLE", 3: "AVAILABLE"})
            write_config(folder, "all {}", {})
            until(lambda: set(states(watched).values()) == {"AVAILABLE"})
            write_config(folder, "specific { versions: 9 }", {})
            until(lambda: set(states(watched).values()) == {"END"})

    def test_moves_a_label_once_its_version_is_loaded(self, folder: Path) -> None:
        saved_models.versioned(folder, 1)
        write_config(folder, "latest { num_versions: 2 }", {"stable": 1, "canary": 1})
        with served(folder) as watched:
            assert served_version(watched.get_servable("m", label="canary")) == 1
            write_config(folder, "latest { num_versions: 2 }", {"stable": 1, "canary": 2})
            time.sleep(5 * POLL)
            assert served_version(watched.get_servable("m", label="canary")) == 1
            saved_models.versioned(folder, 2)
            until(lambda: served_version(watched.get_servable("m", label="canary")) == 2)
            assert served_version(watched.get_servable("m", label="stable")) == 1

    def test_rejects_a_config_that_moves_a_label_to_an_unloaded_version(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """TensorFlow Serving checks labels before it loads anything."""
        saved_models.versioned(folder, 1)
        write_config(folder, "specific { versions: 1 }", {"canary": 1})
        with served(folder) as watched:
            saved_models.versioned(folder, 2)
            write_config(folder, "specific { versions: 1 versions: 2 }", {"canary": 2})
            time.sleep(10 * POLL)
            assert states(watched) == {1: "AVAILABLE"}
            write_config(folder, "specific { versions: 1 versions: 2 }", {"canary": 1})
            until(lambda: states(watched) == {1: "AVAILABLE", 2: "AVAILABLE"})
            write_config(folder, "specific { versions: 1 versions: 2 }", {"canary": 2})
            until(lambda: served_version(watched.get_servable("m", label="canary")) == 2)
        assert caplog.text.count("label to version 2 of model m") == 1  # not at every poll

    def test_a_new_label_may_name_an_unloaded_version(self, folder: Path) -> None:
        saved_models.versioned(folder, 1)
        write_config(folder, "latest {}", {"next": 2})
        not_loaded = pytest.raises(StatusError, match=r"Specific\(m, 2\)")
        with served(folder) as watched, not_loaded:
            watched.get_servable("m", label="next")

    def test_keeps_the_config_if_the_file_becomes_invalid(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        saved_models.versioned(folder, 1)
        with served(folder) as watched:
            (folder / "models.config").write_text("model_config_list { nonsense")
            until(lambda: str(folder / "models.config") in caplog.text)
            saved_models.versioned(folder, 2)  # the folder is still polled
            until(lambda: newest(watched) == 2)

    def test_adds_and_removes_models_of_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "models.config"
        for name, number in (("one", 1), ("two", 2)):
            saved_models.versioned(tmp_path / name, number)

        def write(*names: str) -> None:
            file.write_text(
                "model_config_list {"
                + "".join(
                    f'config {{ name: "{name}" base_path: "{tmp_path / name}" model_platform: "tensorflow" }}'
                    for name in names
                )
                + "}"
            )

        write("one")
        watched = ServedModels(config_source("unused", tmp_path, file), poll_seconds=POLL)
        watched.start()
        try:
            assert watched.wait_until_loaded(20)
            assert served_version(watched.get_servable("one")) == 1
            write("two")
            until(lambda: watched.names() == ["two"] and "two" in watched._snapshot.servables)
            assert served_version(watched.get_servable("two")) == 2
            with pytest.raises(StatusError, match=r"Latest\(one\)"):
                watched.get_servable("one")
        finally:
            watched.stop()
