from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from ml_metadata.proto.metadata_store_pb2 import Artifact

from components.integrity import is_damaged, record_files


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(bytes(range(256)))
    return folder


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / "variables" / "data").read_bytes())
    content[100] ^= 1
    (folder / "variables" / "data").write_bytes(content)


def truncate(folder: Path) -> None:
    (folder / "variables" / "data").write_bytes(bytes(range(200)))


def remove_a_file(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()


def add_a_file(folder: Path) -> None:
    (folder / "variables" / "data-2").touch()


def rename_a_file(folder: Path) -> None:
    (folder / "saved_model.pb").rename(folder / "saved_model.pbtxt")


def remove(folder: Path) -> None:
    folder.rename(folder.with_name("elsewhere"))


def make_unreadable(folder: Path) -> None:
    (folder / "saved_model.pb").unlink()
    (folder / "saved_model.pb").symlink_to("/proc/self/mem")  # EIO, also for root


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, truncate, remove_a_file, add_a_file, rename_a_file, remove, make_unreadable],
)
def test_damage_is_noticed(damage: Callable[[Path], None], model: Path) -> None:
    artifact = Artifact(uri=str(model))
    record_files(artifact)
    assert not is_damaged(artifact)
    damage(model)
    assert is_damaged(artifact)


def test_an_artifact_of_an_earlier_version_is_accepted(model: Path) -> None:
    assert not is_damaged(Artifact(uri=str(model)))
