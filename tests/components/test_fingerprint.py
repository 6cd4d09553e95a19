from __future__ import annotations

from pathlib import Path

import pytest

from components.fingerprint import of_code


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "rooms"
    (folder / "inner").mkdir(parents=True)
    for name in ("__init__.py", "door.py", "inner/__init__.py", "inner/lamp.py", "inner/schema.pbtxt"):
        (folder / name).write_text(f"# {name}\n")
    (folder / "door.py").write_text("raise RuntimeError('imported')\n")
    return folder


def test_sees_changes_of_code(package: Path) -> None:
    before = of_code("rooms")
    assert of_code("rooms") == before
    (package / "inner" / "lamp.py").write_text("# changed\n")
    after = of_code("rooms")
    assert after != before
    (package / "inner" / "lamp.py").rename(package / "inner" / "lantern.py")
    assert of_code("rooms") not in {before, after}


def test_sees_schemas_and_nothing_else(package: Path) -> None:
    before = of_code("rooms")
    (package / "notes.txt").write_text("notes")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "door.cpython-311.pyc").write_bytes(b"compiled")
    assert of_code("rooms") == before
    (package / "inner" / "schema.pbtxt").write_text("# changed\n")
    assert of_code("rooms") != before


def test_of_one_module(package: Path) -> None:
    before = of_code("rooms.door")
    (package / "inner" / "lamp.py").write_text("# changed\n")
    assert of_code("rooms.door") == before
    (package / "door.py").write_text("# changed\n")
    assert of_code("rooms.door") != before


def test_order_of_names_does_not_matter() -> None:
    assert of_code("trainer.features", "components.errors") == of_code(
        "components.errors", "trainer.features"
    )
    assert of_code("trainer.features") != of_code("components.errors")


def test_unknown_module() -> None:
    with pytest.raises(ModuleNotFoundError, match="components.nothing"):
        of_code("components.nothing")
