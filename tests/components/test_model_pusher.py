"""Runs the real executor between real folders."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tfx.orchestration.portable import data_types
from tfx.proto import pusher_pb2
from tfx.types import standard_artifacts
from tfx.utils import io_utils, proto_utils

from components.model_pusher.driver import Driver
from components.model_pusher.executor import Executor
from serving.versions import versions

Push = Callable[..., standard_artifacts.PushedModel]


@pytest.fixture
def served(tmp_path: Path) -> Path:
    return tmp_path / "serving_model" / "catsdogs"


@pytest.fixture
def push(tmp_path: Path, served: Path) -> Push:
    """`push(contents, blessed=True)`: pushes a model with that content, returns the PushedModel."""

    def run(contents: str = "first", blessed: bool = True) -> standard_artifacts.PushedModel:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / f"model-{contents}")
        variables = tmp_path / f"model-{contents}" / "Format-Serving" / "variables"
        variables.mkdir(parents=True, exist_ok=True)
        (variables / "variables.index").write_text(contents)
        (variables.parent / "saved_model.pb").write_text("graph")
        blessing = standard_artifacts.ModelBlessing()
        blessing.uri = str(tmp_path / "blessing")
        blessing.set_int_custom_property("blessed", int(blessed))
        pushed = standard_artifacts.PushedModel()
        pushed.uri = str(tmp_path / "pushed")
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(served))
        )
        Executor().Do(
            {"model": [model], "model_blessing": [blessing]},
            {"pushed_model": [pushed]},
            {"push_destination": proto_utils.proto_to_json(destination)},
        )
        return pushed

    return run


def test_a_blessed_model_becomes_a_version(push: Push, served: Path) -> None:
    pushed = push()

    [version] = versions(served)
    assert (served / str(version) / "variables" / "variables.index").read_text() == "first"
    assert (served / str(version) / "saved_model.pb").exists()
    assert pushed.get_int_custom_property("pushed") == 1
    assert pushed.get_string_custom_property("pushed_version") == str(version)
    assert pushed.get_string_custom_property("pushed_destination") == str(served / str(version))
    assert [entry.name for entry in served.iterdir()] == [str(version)]


def test_an_unblessed_model_is_not_pushed(push: Push, served: Path) -> None:
    assert push(blessed=False).get_int_custom_property("pushed") == 0
    assert not served.exists()


def test_a_model_that_nobody_judged_is_refused() -> None:
    with pytest.raises(ValueError, match="nobody judged is not pushed"):
        Executor().Do({"model": [standard_artifacts.Model()], "model_blessing": []}, {}, {})


def test_the_model_that_is_being_served_is_not_pushed_again(push: Push, served: Path) -> None:
    first = push()
    again = push()
    assert len(versions(served)) == 1
    assert again.get_string_custom_property("pushed_version") == first.get_string_custom_property(
        "pushed_version"
    )


def test_versions_only_go_up_even_within_a_second_or_after_a_clock_was_wrong(
    push: Push, served: Path
) -> None:
    future = int(time.time()) + 10_000
    (served / str(future)).mkdir(parents=True)

    push("second")
    push("third")

    assert versions(served) == [future, future + 1, future + 2]


def test_a_push_that_fails_while_copying_leaves_nothing_and_the_next_one_succeeds(
    push: Push, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Path] = []
    copy_file = io_utils.copy_file

    def fail(source: str, target: str, overwrite: bool = False) -> None:
        if target.endswith("saved_model.pb"):
            copied.extend(served.rglob("variables.index"))
            raise OSError("No space left on device")
        copy_file(source, target, overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(io_utils, "copy_file", fail)
        with pytest.raises(OSError, match="No space left"):
            push()
    assert copied, "the copy had begun"
    assert list(served.iterdir()) == []

    push()
    assert len(versions(served)) == 1
    assert len(list(served.iterdir())) == 1


@pytest.mark.parametrize(("hours", "stays"), [(23, True), (25, False)])
def test_what_a_killed_push_left_is_removed_after_a_day(
    push: Push, served: Path, hours: int, stays: bool
) -> None:
    left = served / ".pushing-by-a-killed-pod"
    (left / "1700000000").mkdir(parents=True)
    (left / "1700000000" / "saved_model.pb").write_text("half")
    then = time.time() - hours * 3600
    os.utime(left, (then, then))

    pushed = push()

    assert left.exists() == stays
    assert versions(served) == [int(pushed.get_string_custom_property("pushed_version"))]


def test_pushes_at_the_same_time_both_become_whole_versions(
    push: Push, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy_file = io_utils.copy_file

    def push_another_meanwhile(source: str, target: str, overwrite: bool = False) -> None:
        if target.endswith("saved_model.pb") and "model-first" in source:
            push("second")
        copy_file(source, target, overwrite)

    with monkeypatch.context() as patch:
        patch.setattr(io_utils, "copy_file", push_another_meanwhile)
        push("first")

    found = [served / str(version) for version in versions(served)]
    assert [(path / "variables" / "variables.index").read_text() for path in found] == ["second", "first"]
    assert all((path / "saved_model.pb").exists() for path in found)
    assert len(list(served.iterdir())) == 2


def test_a_number_that_another_push_took_at_the_last_moment_is_not_overwritten(
    push: Push, served: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename
    taken: list[Path] = []

    def be_late(path: Path, target: Path) -> Path:
        if not taken:
            taken.append(target)
            target.mkdir()
            (target / "saved_model.pb").write_text("of another")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", be_late)
    pushed = push()

    assert (taken[0] / "saved_model.pb").read_text() == "of another"
    assert versions(served) == [int(taken[0].name), int(taken[0].name) + 1]
    assert pushed.get_string_custom_property("pushed_version") == str(int(taken[0].name) + 1)


@pytest.fixture
def replaced_by(tmp_path: Path, served: Path) -> Callable[[str], str]:
    """`replaced_by(contents)`: what the driver adds for the model of that content."""

    def look(contents: str) -> str:
        model = standard_artifacts.Model()
        model.uri = str(tmp_path / f"model-{contents}")
        destination = pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=str(served))
        )
        info = data_types.ExecutionInfo(
            input_dict={"model": [model]},
            exec_properties={"push_destination": proto_utils.proto_to_json(destination)},
        )
        added: str = Driver(None).run(info).exec_properties["replaced_by"].string_value
        return added

    return look


def test_the_cache_is_told_when_a_model_was_replaced_by_another(
    push: Push, served: Path, replaced_by: Callable[[str], str]
) -> None:
    push("first")
    assert replaced_by("first") == ""
    push("second")
    [_, second] = versions(served)
    assert replaced_by("second") == "", "a repeated run must find its push in the cache"
    assert replaced_by("first") == str(second)

    push("first")
    assert replaced_by("first") == ""
    assert replaced_by("second") == str(versions(served)[-1])


def test_a_model_that_was_never_pushed_has_not_been_replaced(
    push: Push, served: Path, replaced_by: Callable[[str], str]
) -> None:
    push("unblessed", blessed=False)
    assert replaced_by("unblessed") == ""
    push("first")
    assert replaced_by("unblessed") == ""


def test_versions_already_there_stay_as_they_are(push: Push, served: Path) -> None:
    push("first")
    [first] = versions(served)
    push("second")
    assert (served / str(first) / "variables" / "variables.index").read_text() == "first"
