from __future__ import annotations

from pathlib import Path

import pytest

from serving import warmup
from serving.repository.manifest import NAME, Manifest, checksum_files, model_identity


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_text("graph")
    (tmp_path / "variables" / "variables.index").write_text("weights")
    (tmp_path / NAME).write_text("{}")
    return tmp_path


def test_checksum_files_skips_the_manifest(version: Path) -> None:
    assert set(checksum_files(version)) == {"saved_model.pb", "variables/variables.index"}


def test_a_manifest_round_trips_and_unknown_keys_are_ignored(version: Path) -> None:
    written = Manifest(
        files=checksum_files(version), version=7, metrics={"accuracy": 0.9}, signatures=("serving_default",)
    )
    assert Manifest.from_json(written.to_json()) == written
    later = written.to_json().replace('"version": 7', '"version": 7, "colour": "blue"')
    assert Manifest.from_json(later) == written


FILES = '{"files": {"saved_model.pb": {"size": 5, "sha256": "c0de"}}'
WRONG = [
    *("", "{", "[]", "[" * 100_000, b"\xff"),
    *('{"files": {"a": 1}}', '{"files": {"a": {}}}', '{"files": {}}', '{"files": []}'),
    '{"files": {"variables.index": {"size": 5, "sha256": "c0de"}}}',
    FILES.replace("5", '"5"') + "}",
    FILES.replace('"c0de"', "null") + "}",
    FILES.replace("saved_model.pb", "saved_model.pb\\ud800") + "}",
    FILES + ', "metrics": [0.9]}',
    FILES + ', "metrics": {"accuracy": "good"}}',
    FILES + ', "metrics": null}',
    FILES + ', "run_id": 7}',
    FILES + ', "run_id": "\\ud800"}',
    FILES + ', "version": "7"}',
    FILES + ', "pushed_at": 1700000000}',
    FILES + ', "signatures": [1]}',
    FILES + ', "signatures": null}',
    FILES + ', "code_fingerprints": {"trainer": 1}}',
]


def test_a_manifest_needs_only_the_files() -> None:
    assert set(Manifest.from_json(FILES + "}").files) == {"saved_model.pb"}


@pytest.mark.parametrize("text", WRONG)
def test_invalid_manifests_are_value_errors(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        Manifest.from_json(text)


def test_warm_up_requests_do_not_change_the_model_identity(version: Path) -> None:
    before = model_identity(checksum_files(version))
    (version / warmup.REQUESTS_FILE).parent.mkdir()
    (version / warmup.REQUESTS_FILE).write_text("requests")
    assert model_identity(checksum_files(version)) == before
    (version / "variables" / "variables.index").write_text("Weights")
    assert model_identity(checksum_files(version)) != before
