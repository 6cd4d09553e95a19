from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from components.approvals.store import ApprovalStore
from components.image_example_gen.config import DataConfig
from components.image_example_gen.sources import open_source, source_name
from pipelines.kubeflow.container import lookup
from tests.pipelines.kubeflow.container.pod import Cluster

CLASSES = '["cat", "dog"]'


def data_fingerprint(source: Mapping[str, object], output: Path, *more: str) -> int:
    return lookup.main(
        [
            *("data-fingerprint", "--source", json.dumps(source), "--class_names", CLASSES),
            *("--output", str(output), *more),
        ]
    )


def test_it_finds_what_the_local_driver_finds(
    tmp_path: Path, folder_of: Callable[[Mapping[str, int]], Path]
) -> None:
    source = {"kind": "folder", "folder": str(folder_of({"cats": 2, "dogs": 2}))}
    assert data_fingerprint(source, tmp_path / "found") == 0
    found = (tmp_path / "found").read_text()
    assert found == open_source(source, ["cat", "dog"]).fingerprint()

    data_fingerprint(source, tmp_path / "again")
    assert (tmp_path / "again").read_text() == found
    next((tmp_path / "pictures" / "cats").iterdir()).write_bytes(b"another image")
    data_fingerprint(source, tmp_path / "changed")
    assert (tmp_path / "changed").read_text() != found


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
def test_a_folder_without_images(is_there: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    if is_there:
        folder.mkdir()
    assert data_fingerprint({"kind": "folder", "folder": str(folder)}, tmp_path / "found") == 2
    [sentence] = capsys.readouterr().err.strip().splitlines()[-1:]
    assert str(folder) in sentence
    assert ("kubeflow.volumes" in sentence) is not is_there
    assert not (tmp_path / "found").exists()


def test_a_source_that_is_not_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        lookup.main(["data-fingerprint", "--source", "{", "--class_names", CLASSES, "--output", "f"])
    assert end.value.code == 2
    assert "--source" in capsys.readouterr().err


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setenv("CATSDOGS_LAUNCHER_ROOT", str(tmp_path))
    return Cluster(tmp_path)


def look_for_approved(cluster: Cluster, candidate: str, *more: str) -> int:
    arguments = ["--approvals", str(cluster.state), "--store", "blessed-model", "--candidate", candidate]
    return lookup.main(["approved", *arguments, "--output", str(cluster.folder / "approved"), *more])


def approved(cluster: Cluster, candidate: str, *more: str) -> str:
    assert look_for_approved(cluster, candidate, *more) == 0
    return (cluster.folder / "approved").read_text()


def test_it_finds_the_newest_approval_of_another(cluster: Cluster) -> None:
    store = ApprovalStore(cluster.state / "blessed-model")
    entries = {}
    for name in ("A", "B"):
        artifact = cluster.put("model", {"weights": name.encode()})
        entries[name] = store.record(cluster.local(artifact.uri), artifact.uri).text()
    assert approved(cluster, cluster.put("model", {"weights": b"C"}).uri) == entries["B"]
    assert approved(cluster, cluster.put("model", {"weights": b"B"}).uri) == entries["A"]


def test_it_finds_only_what_has_the_property(cluster: Cluster) -> None:
    store = ApprovalStore(cluster.state / "blessed-model")
    artifact = cluster.put("statistics", {"counts": b"1"})
    entry = store.record(
        cluster.local(artifact.uri), artifact.uri, properties={"source": "folder /a=b"}
    ).text()
    candidate = cluster.put("statistics", {"counts": b"2"}).uri
    assert approved(cluster, candidate, "--where", "source=folder /a=b") == entry
    assert approved(cluster, candidate, "--where", "source=sample") == ""


def test_an_approval_whose_files_are_gone_is_told_where_that_is_wanted(cluster: Cluster) -> None:
    store = ApprovalStore(cluster.state / "blessed-model")
    kept = []
    for name in ("A", "B"):
        artifact = cluster.put("model", {"weights": name.encode()})
        kept.append(store.record(cluster.local(artifact.uri), artifact.uri))
    candidate = cluster.put("model", {"weights": b"C"}).uri
    assert approved(cluster, candidate, "--include_missing") == approved(cluster, candidate) == kept[1].text()
    shutil.rmtree(kept[1].files)
    assert approved(cluster, candidate, "--include_missing") == replace(kept[1], files="").text()
    assert approved(cluster, candidate) == kept[1].text()


def test_a_damaged_approval(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    (cluster.state / "blessed-model" / "2026").mkdir(parents=True)
    (cluster.state / "blessed-model" / "2026" / "approval.json").write_text("{")
    candidate = cluster.put("model", {"weights": b"A"}).uri
    assert look_for_approved(cluster, candidate) == 1
    assert str(cluster.state / "blessed-model" / "2026") in capsys.readouterr().err


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_a_candidate_that_was_removed_from_the_store(
    cluster: Cluster, left: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its own approval must not be taken for that of another."""
    candidate = cluster.put("model", {"variables/weights": b"A"}).uri
    ApprovalStore(cluster.state / "blessed-model").record(cluster.local(candidate), candidate)
    shutil.rmtree(cluster.local(candidate))
    if left == "an empty folder":
        (cluster.local(candidate) / "variables").mkdir(parents=True)
    assert look_for_approved(cluster, candidate) == 1
    assert candidate in capsys.readouterr().err
    assert not (cluster.folder / "approved").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [
            *("data-fingerprint", "--source", '{"kind": "sample", "count": 10, "seed": 0}'),
            *("--class_names", CLASSES, "--output", "found"),
        ],
        ["approved", "--approvals", "a", "--store", "l", "--candidate", "model", "--output", "found"],
    ],
)
def test_a_look_is_light(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").touch()
    command = f"import sys; from pipelines.kubeflow.container import lookup; lookup.main({arguments!r})"
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
    assert (tmp_path / "found").exists()
