from __future__ import annotations

from pathlib import Path

import pytest

from serving import warmup
from serving.repository.manifest import NAME, Manifest, files_in, identity


@pytest.fixture
def version(tmp_path: Path) -> Path:
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_text("graph")
    (tmp_path / "variables" / "variables.index").write_text("weights")
    (tmp_path / NAME).write_text("{}")
    return tmp_path


def test_files_are_all_but_the_manifest(version: Path) -> None:
    assert set(files_in(version)) == {"saved_model.pb", "variables/variables.index"}


def test_it_is_read_back_as_it_was_written_and_names_of_later_releases_are_left_out(version: Path) -> None:
    written = Manifest(
        files=files_in(version), version=7, metrics={"accuracy": 0.9}, signatures=("serving_default",)
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


def test_a_manifest_may_say_nothing_but_the_files() -> None:
    assert set(Manifest.from_json(FILES + "}").files) == {"saved_model.pb"}


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_manifest_is_a_value_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        Manifest.from_json(text)


def test_the_same_model_is_the_same_whatever_it_is_warmed_up_with(version: Path) -> None:
    before = identity(files_in(version))
    (version / warmup.FILE).parent.mkdir()
    (version / warmup.FILE).write_text("requests")
    assert identity(files_in(version)) == before
    (version / "variables" / "variables.index").write_text("Weights")
    assert identity(files_in(version)) != before
