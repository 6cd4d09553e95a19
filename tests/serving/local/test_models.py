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
from serving.local import model_versions
from serving.local.models import Models, configs
from serving.local.servable import Servable
from serving.local.status import StatusError
from tests.serving import bad_pictures, models

State = ModelVersionStatus.State
POLL = 0.05


@contextmanager
def served(folder: Path, load_retries: int = 5, retry_seconds: float = 60.0) -> Iterator[Models]:
    """A model `m` of a folder, with what can be loaded of it in memory."""
    watched = Models(configs("m", folder), POLL, load_retries, retry_seconds)
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


def told(servable: Servable) -> int:
    """The version that the model itself tells."""
    return int(servable.run("", {"x": np.zeros(1, np.float32)})["version"][0])


def newest(watched: Models) -> int:
    return watched.find("m").version


def newest_or_none(watched: Models) -> int | None:
    try:
        return newest(watched)
    except StatusError:
        return None


def states(watched: Models) -> dict[int, str]:
    return {status.version: State.Name(status.state) for status in watched.statuses("m")}


def write_config(folder: Path, policy: str, labels: dict[str, int]) -> None:
    lines = "".join(f'version_labels {{ key: "{name}" value: {number} }} ' for name, number in labels.items())
    beside = folder / ".models.config"
    beside.write_text(
        'model_config_list { config { name: "m" base_path: "/somewhere/else" model_platform: "tensorflow" '
        f"model_version_policy {{ {policy} }} {lines} }} }}"
    )
    beside.rename(folder / "models.config")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "m"
    made.mkdir()
    return made


class TestFind:
    def test_the_newest_a_version_and_nothing_else(self, folder: Path) -> None:
        models.tells_version(folder, 7)
        with served(folder) as watched:
            assert told(watched.find("m")) == told(watched.find("m", 7)) == 7
            assert watched.names() == ["m"]
            for asked, code, named in (
                (("nope",), grpc.StatusCode.NOT_FOUND, "Latest(nope)"),
                (("m", 99), grpc.StatusCode.NOT_FOUND, "Specific(m, 99)"),
                (("m", 0), grpc.StatusCode.NOT_FOUND, "Specific(m, 0)"),
                (("m", None, "stable"), grpc.StatusCode.INVALID_ARGUMENT, "stable"),
                (("",), grpc.StatusCode.INVALID_ARGUMENT, ""),
            ):
                with pytest.raises(StatusError) as refused:
                    watched.find(*asked)
                assert refused.value.code == code
                assert named in refused.value.message

    def test_statuses_of_what_is_not_there(self, folder: Path) -> None:
        models.tells_version(folder, 7)
        with served(folder) as watched:
            assert states(watched) == {7: "AVAILABLE"}
            assert watched.statuses("m", 7)[0].status.error_code == 0
            with pytest.raises(StatusError, match="nope"):
                watched.statuses("nope")
            with pytest.raises(StatusError, match="version 8 "):
                watched.statuses("m", 8)


class TestComingAndGoing:
    def test_an_empty_folder_is_served_as_soon_as_there_is_a_version(self, folder: Path) -> None:
        with served(folder) as watched:
            with pytest.raises(StatusError, match=r"Latest\(m\)"):
                watched.find("m")
            models.tells_version(folder, 1)
            until(lambda: newest_or_none(watched) == 1)
            assert told(watched.find("m")) == 1

    def test_a_push_and_a_roll_back(self, folder: Path) -> None:
        models.tells_version(folder, 1)
        with served(folder) as watched:
            models.tells_version(folder, 2)
            until(lambda: states(watched) == {1: "END", 2: "AVAILABLE"})
            assert told(watched.find("m")) == 2
            (folder / "2").rename(folder / "withdrawn-2")
            until(lambda: states(watched) == {1: "AVAILABLE", 2: "END"})
            assert told(watched.find("m")) == 1
            (folder / "withdrawn-2").rename(folder / "2")
            until(lambda: states(watched) == {1: "END", 2: "AVAILABLE"})
            assert [status.version for status in watched.statuses("m")] == [2, 1]

    def test_an_empty_folder_is_nothing_to_serve_and_a_missing_one_a_disturbance(self, folder: Path) -> None:
        models.tells_version(folder, 1)
        with served(folder) as watched:
            folder.rename(folder.with_name("elsewhere"))
            time.sleep(5 * POLL)
            assert newest(watched) == 1
            folder.mkdir()
            until(lambda: states(watched) == {1: "END"})
            with pytest.raises(StatusError, match=r"Latest\(m\)"):
                watched.find("m")

    def test_a_request_finishes_on_its_version_which_then_leaves_the_memory(self, folder: Path) -> None:
        models.tells_version(folder, 1)
        gc.disable()  # it is not left to chance
        try:
            with served(folder) as watched:
                held = watched.find("m")
                session = weakref.ref(held._session)
                models.tells_version(folder, 2)
                until(lambda: newest(watched) == 2)
                assert states(watched) == {1: "UNLOADING", 2: "AVAILABLE"}
                assert told(held) == 1
                del held
                assert states(watched) == {1: "END", 2: "AVAILABLE"}
                assert session() is None
        finally:
            gc.enable()

    @pytest.fixture
    def held(self, monkeypatch: pytest.MonkeyPatch) -> tuple[threading.Event, threading.Event]:
        """Version 2 sets the first event while it is loaded, and is ready once the second is set."""
        loading, go_on = threading.Event(), threading.Event()
        from serving.local.warmup import replay

        def slow(servable: Servable, version: Path) -> int:
            if servable.version == 2:
                loading.set()
                assert go_on.wait(20)
            return replay(servable, version)

        monkeypatch.setattr(model_versions, "replay", slow)
        return loading, go_on

    def test_requests_go_on_while_a_version_is_loaded(
        self, folder: Path, held: tuple[threading.Event, threading.Event]
    ) -> None:
        loading, go_on = held
        models.tells_version(folder, 1)
        with served(folder) as watched:
            models.tells_version(folder, 2)
            assert loading.wait(20)
            assert states(watched) == {1: "AVAILABLE", 2: "LOADING"}
            assert told(watched.find("m")) == 1
            assert not watched.wait_until_loaded(0)
            go_on.set()
            until(lambda: newest(watched) == 2)

    def test_a_version_that_goes_while_it_is_loaded_is_not_served(
        self, folder: Path, held: tuple[threading.Event, threading.Event]
    ) -> None:
        loading, go_on = held
        models.tells_version(folder, 1)
        with served(folder) as watched:
            models.tells_version(folder, 2)
            assert loading.wait(20)
            (folder / "2").rename(folder / "withdrawn-2")
            time.sleep(5 * POLL)
            go_on.set()
            until(lambda: states(watched) == {1: "AVAILABLE", 2: "END"})
            assert newest(watched) == 1


class TestFailedLoads:
    def test_the_old_version_serves_on_and_the_reason_is_told(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        models.tells_version(folder, 1)
        with served(folder) as watched:
            (folder / "2").mkdir()
            until(lambda: bool(watched.statuses("m")[0].status.error_code))
            [broken] = watched.statuses("m", 2)
            assert broken.state == State.LOADING
            assert broken.status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
            assert str(folder / "2") in broken.status.error_message
            assert newest(watched) == 1
            assert watched.wait_until_loaded(1)  # nothing to wait for
        assert "m version 2" in caplog.text
        assert "60 s" in caplog.text

    def test_it_is_tried_again_and_given_up(self, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
        (folder / "2").mkdir()
        with served(folder, load_retries=2, retry_seconds=0.1) as watched:
            until(lambda: states(watched) == {2: "END"})
            assert watched.statuses("m")[0].status.error_code == grpc.StatusCode.NOT_FOUND.value[0]
            time.sleep(0.3)
        assert caplog.text.count("m version 2") == 3

    @pytest.mark.parametrize("load_retries", [0, 5])
    def test_other_files_are_tried_at_once(self, folder: Path, load_retries: int) -> None:
        (folder / "2").mkdir()
        with served(folder, load_retries=load_retries) as watched:
            assert states(watched) == {2: "END" if load_retries == 0 else "LOADING"}
            (folder / "2").rename(folder / "broken")
            models.tells_version(folder, 2)
            until(lambda: states(watched) == {2: "AVAILABLE"})
            assert not watched.statuses("m")[0].status.error_message

    def test_a_good_version_does_not_wait_behind_a_broken_one(self, folder: Path) -> None:
        (folder / "2").mkdir()
        with served(folder) as watched:
            models.tells_version(folder, 3)
            until(lambda: newest_or_none(watched) == 3)

    def test_a_failing_warm_up_request_fails_the_load(self, folder: Path, tmp_path: Path) -> None:
        staged = models.classifier(tmp_path / "staged", 5)
        warmup.write_requests(
            staged / warmup.REQUESTS_FILE, "m", [bad_pictures.encode("JPEG"), b"no picture"]
        )
        staged.rename(folder / "5")
        with served(folder) as watched:
            [status] = watched.statuses("m")
            assert "Unknown image file format" in status.status.error_message
            with pytest.raises(StatusError, match=r"Latest\(m\)"):
                watched.find("m")

    def test_a_failed_load_leaves_nothing_in_memory(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[weakref.ref] = []

        def fails(servable: Servable, version: Path) -> int:
            seen.append(weakref.ref(servable))
            return len(servable.run("", {})) or 1

        monkeypatch.setattr(model_versions, "replay", fails)
        models.tells_version(folder, 1)
        gc.disable()
        try:
            with served(folder) as watched:
                assert watched.statuses("m")[0].status.error_code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
                assert [servable() for servable in seen] == [None]
        finally:
            gc.enable()


class TestModelsConfig:
    def test_policies_are_taken_up_while_serving(self, folder: Path) -> None:
        for number in (1, 2, 3):
            models.tells_version(folder, number)
        with served(folder) as watched:
            assert states(watched) == {3: "AVAILABLE"}
            write_config(folder, "specific { versions: 1 versions: 2 }", {})
            until(lambda: states(watched) == {1: "AVAILABLE", 2: "AVAILABLE", 3: "END"})
            assert told(watched.find("m")) == 2
            assert told(watched.find("m", 1)) == 1
            write_config(folder, "latest { num_versions: 2 }", {})
            until(lambda: states(watched) == {1: "END", 2: "AVAILABLE", 3: "AVAILABLE"})
            write_config(folder, "all {}", {})
            until(lambda: set(states(watched).values()) == {"AVAILABLE"})
            write_config(folder, "specific { versions: 9 }", {})
            until(lambda: set(states(watched).values()) == {"END"})

    def test_labels_follow_once_their_version_is_loaded(self, folder: Path) -> None:
        models.tells_version(folder, 1)
        write_config(folder, "latest { num_versions: 2 }", {"stable": 1, "canary": 1})
        with served(folder) as watched:
            assert told(watched.find("m", label="canary")) == 1
            write_config(folder, "latest { num_versions: 2 }", {"stable": 1, "canary": 2})
            time.sleep(5 * POLL)
            assert told(watched.find("m", label="canary")) == 1
            models.tells_version(folder, 2)
            until(lambda: told(watched.find("m", label="canary")) == 2)
            assert told(watched.find("m", label="stable")) == 1

    def test_a_label_in_use_that_moves_to_what_is_not_loaded_blocks_the_whole_config(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As in TensorFlow Serving, which checks the labels before it loads anything."""
        models.tells_version(folder, 1)
        write_config(folder, "specific { versions: 1 }", {"canary": 1})
        with served(folder) as watched:
            models.tells_version(folder, 2)
            write_config(folder, "specific { versions: 1 versions: 2 }", {"canary": 2})
            time.sleep(10 * POLL)
            assert states(watched) == {1: "AVAILABLE"}
            write_config(folder, "specific { versions: 1 versions: 2 }", {"canary": 1})
            until(lambda: states(watched) == {1: "AVAILABLE", 2: "AVAILABLE"})
            write_config(folder, "specific { versions: 1 versions: 2 }", {"canary": 2})
            until(lambda: told(watched.find("m", label="canary")) == 2)
        assert caplog.text.count("label to version 2 of model m") == 1  # not once a poll

    def test_an_unused_label_may_name_what_is_not_loaded(self, folder: Path) -> None:
        models.tells_version(folder, 1)
        write_config(folder, "latest {}", {"next": 2})
        not_loaded = pytest.raises(StatusError, match=r"Specific\(m, 2\)")
        with served(folder) as watched, not_loaded:
            watched.find("m", label="next")

    def test_a_config_that_breaks_leaves_things_as_they_are(
        self, folder: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        models.tells_version(folder, 1)
        with served(folder) as watched:
            (folder / "models.config").write_text("model_config_list { nonsense")
            until(lambda: str(folder / "models.config") in caplog.text)
            models.tells_version(folder, 2)  # the folder is looked at all the same
            until(lambda: newest(watched) == 2)

    def test_several_models_of_a_file_come_and_go(self, tmp_path: Path) -> None:
        file = tmp_path / "models.config"
        for name, number in (("one", 1), ("two", 2)):
            models.tells_version(tmp_path / name, number)

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
        watched = Models(configs("unused", tmp_path, file), poll_seconds=POLL)
        watched.start()
        try:
            assert watched.wait_until_loaded(20)
            assert told(watched.find("one")) == 1
            write("two")
            until(lambda: watched.names() == ["two"] and "two" in watched._view.serving)
            assert told(watched.find("two")) == 2
            with pytest.raises(StatusError, match=r"Latest\(one\)"):
                watched.find("one")
        finally:
            watched.stop()
