from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from pipelines.kubeflow.container import own_code
from pipelines.kubeflow.container.own_code import fingerprint_behind


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of our packages, to be changed."""
    root = Path(own_code.__file__).parents[3]
    for name in ("components", "pipelines", "serving", "trainer"):
        shutil.copytree(root / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(own_code, "_ROOT", tmp_path)
    own_code._imports.cache_clear()
    return tmp_path


STEPS = {
    "ingest": ["components.image_example_gen.executor.Executor"],
    "gate": ["components.data_gate.component.Executor"],
    "transform": [
        "components.image_transform.executor.Executor",
        "trainer.preprocessing.preprocessing_fn",
    ],
    "train": ["tfx.components.trainer.executor.GenericExecutor", "trainer.run.run_fn"],
    "evaluate": ["tfx.components.evaluator.executor.Executor"],
}


@pytest.mark.parametrize(
    ("edited", "touched"),
    [
        ("trainer/phases.py", {"train"}),
        ("trainer/run.py", {"train"}),
        ("trainer/preprocessing.py", {"transform", "train"}),
        ("trainer/features.py", {"ingest", "gate", "transform", "train"}),
        ("components/image_transform/executor.py", {"transform"}),
        ("components/image_example_gen/sources/folder.py", {"ingest"}),
        # Imported only where it is needed:
        ("components/image_example_gen/sources/tfds.py", {"ingest"}),
        ("components/image_example_gen/drawing/cat.py", {"ingest"}),
        ("components/image_example_gen/__init__.py", {"ingest"}),
        ("components/data_gate/wording.py", {"gate"}),
        ("components/errors.py", {"ingest", "gate"}),
        ("serving/repository/versions.py", set()),
        ("pipelines/cli.py", set()),
    ],
)
def test_an_edit_touches_what_imports_it_and_nothing_else(
    packages: Path, edited: str, touched: set[str]
) -> None:
    before = {step: fingerprint_behind(names) for step, names in STEPS.items()}
    with (packages / edited).open("a") as file:
        file.write("\n# an edit\n")
    own_code._imports.cache_clear()
    after = {step: fingerprint_behind(names) for step, names in STEPS.items()}
    assert {step for step in STEPS if before[step] != after[step]} == touched


def test_code_of_others_is_known_by_its_version() -> None:
    assert fingerprint_behind(["tfx.components.evaluator.executor.Executor"]) == fingerprint_behind([])


def test_our_code_imports_by_full_names() -> None:
    """Others would not be followed."""
    root = Path(own_code.__file__).parents[3]
    for name in ("components", "pipelines", "serving", "trainer"):
        for path in (root / name).rglob("*.py"):
            assert "from ." not in path.read_text(), path
