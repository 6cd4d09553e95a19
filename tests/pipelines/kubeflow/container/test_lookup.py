from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.approvals.store import ApprovalStore
from components.errors import PipelineError
from components.image_example_gen.config import DataConfig
from components.image_example_gen.sources import open_source, source_name
from pipelines.kubeflow.container import lookup, transient

CLASSES = '["cat", "dog"]'
SAMPLE = {"kind": "sample", "count": 10, "seed": 0}
KEYS = {"data_key": "1", "model_key": "2"}


@pytest.fixture
def arguments(tmp_path: Path) -> Callable[[Mapping[str, object]], list[str]]:
    def of_source(source: Mapping[str, object]) -> list[str]:
        message = {
            "inputs": {"parameterValues": {"source": json.dumps(source)}},
            "outputs": {"outputFile": str(tmp_path / "task" / "output.json")},
        }
        return [
            *("--executor_input", json.dumps(message), "--class_names", CLASSES),
            *("--approvals", str(tmp_path / "approvals"), "--keys", json.dumps(KEYS)),
        ]

    return of_source


@pytest.fixture
def looked_up(
    tmp_path: Path, arguments: Callable[[Mapping[str, object]], list[str]]
) -> Callable[[Mapping[str, object]], dict[str, Any]]:
    """`looked_up(source)`: the outputs of the task."""

    def outputs(source: Mapping[str, object]) -> dict[str, Any]:
        assert lookup.main(arguments(source)) == 0
        output = json.loads((tmp_path / "task" / "output.json").read_text())
        written: dict[str, Any] = output["parameterValues"]
        return written

    return outputs


def test_it_finds_what_the_local_driver_finds(
    looked_up: Callable[..., dict[str, Any]], folder_of: Callable[[Mapping[str, int]], Path], tmp_path: Path
) -> None:
    source = {"kind": "folder", "folder": str(folder_of({"cats": 2, "dogs": 2}))}
    found = looked_up(source)
    assert found["data_fingerprint"] == open_source(source, ["cat", "dog"]).fingerprint()
    assert found["source_name"] == source_name(source)
    assert looked_up(source) == found

    next((tmp_path / "pictures" / "cats").iterdir()).write_bytes(b"another image")
    changed = looked_up(source)
    for name in ("data_fingerprint", "data_key", "model_key"):
        assert changed[name] != found[name]


def test_a_failure_of_the_network_is_repeated(
    looked_up: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [ConnectionResetError()]

    def open_after_failures(source: Mapping[str, object], class_names: list[str]) -> Any:
        if failures:
            raise PipelineError("The data set cannot be downloaded.") from failures.pop()
        return open_source(source, class_names)

    monkeypatch.setattr(lookup, "open_source", open_after_failures)
    monkeypatch.setattr(transient, "_PAUSES", (0,))
    assert looked_up(SAMPLE)["data_fingerprint"] == open_source(SAMPLE, ["cat", "dog"]).fingerprint()


def test_the_keys_change_with_those_that_were_compiled(
    looked_up: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = looked_up(SAMPLE)
    assert found["data_key"] != found["model_key"]
    monkeypatch.setitem(KEYS, "model_key", "3")
    changed = looked_up(SAMPLE)
    assert changed["model_key"] != found["model_key"]
    assert changed["data_key"] == found["data_key"]


@pytest.mark.parametrize(
    "settings",
    [
        DataConfig(),
        DataConfig(source="folder", folder=Path("/data/cats and dogs")),
        DataConfig(source="tfds"),
    ],
)
def test_sources_are_called_as_they_are_in_the_settings(settings: DataConfig) -> None:
    assert source_name(settings.source_spec) == settings.source_name


@pytest.mark.parametrize("is_there", [False, True])
def test_a_folder_without_images(
    is_there: bool,
    tmp_path: Path,
    arguments: Callable[[Mapping[str, object]], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data"
    if is_there:
        folder.mkdir()
    assert lookup.main(arguments({"kind": "folder", "folder": str(folder)})) == 2
    [sentence] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert str(folder) in sentence
    assert ("kubeflow.volumes" in sentence) is not is_there
    assert not (tmp_path / "task").exists()


def test_what_was_approved_changes_the_parameter_of_its_baseline_only(
    looked_up: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    first = looked_up(SAMPLE)
    assert (first["accepted_data"], first["blessed_model"], first["best_model"]) == ("none", "none", "none")
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("A")
    ApprovalStore(tmp_path / "approvals" / "blessed-model").record(model, "minio://b/model")
    found = looked_up(SAMPLE)
    assert found["blessed_model"] != "none"
    assert found | {"blessed_model": "none"} == first


def test_a_damaged_approval(
    tmp_path: Path,
    arguments: Callable[[Mapping[str, object]], list[str]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    damaged = tmp_path / "approvals" / "blessed-model" / "2026"
    damaged.mkdir(parents=True)
    (damaged / "approval.json").write_text("{")
    assert lookup.main(arguments(SAMPLE)) == 1
    assert str(damaged) in capsys.readouterr().err


def test_the_lookup_is_light(arguments: Callable[[Mapping[str, object]], list[str]], tmp_path: Path) -> None:
    command = (
        f"import sys; from pipelines.kubeflow.container import lookup; lookup.main({arguments(SAMPLE)!r})"
    )
    heavy = "print([name for name in ('tensorflow', 'tfx', 'apache_beam', 'kfp') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{command}; {heavy}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[4])},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
    assert (tmp_path / "task" / "output.json").exists()
