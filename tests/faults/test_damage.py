"""Damaged artifacts, cached features and checkpoints are noticed and made anew, never used."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from components import integrity
from pipelines.runs.metadata import open_store
from tests.e2e.driver import BEFORE_TRANSFORM, LOOKUPS, TRAINING, Workshop
from tests.trainer import test_checkpoints
from tests.trainer.test_feature_cache import SPLIT, feature_file, filled_cache, open_cache
from trainer.checkpoints import EpochCheckpoints

SETTINGS = {
    "data.sample.count": 160,
    "training.image_size": 96,
    "training.frozen.epochs": 1,
    "training.fine_tuning.epochs": 0,
}
OPTIONS = [f"--set={name}={value}" for name, value in SETTINGS.items()] + ["--to=Evaluator"]
NODES = BEFORE_TRANSFORM | TRAINING | {"PredictionTable", "Evaluator"}

pytestmark = pytest.mark.slow


def flip_a_bit(file: Path, position: int) -> None:
    with file.open("r+b") as stream:
        stream.seek(position)
        [byte] = stream.read(1)
        stream.seek(position)
        stream.write(bytes([byte ^ 1 << position % 8]))


def positions(file: Path, count: int = 100) -> list[int]:
    """Returns random positions of bytes in a file, all of them if it has no more."""
    size = file.stat().st_size
    return random.Random(size).sample(range(size), min(count, size))


@pytest.mark.parametrize("feature", ["pooled", pytest.param("activations", marks=pytest.mark.faults)])
def test_a_flipped_bit_of_cached_features_is_noticed(feature: str, tmp_path: Path) -> None:
    filled_cache(tmp_path)
    file = feature_file(tmp_path, feature, 0)
    undamaged = shutil.copytree(file.parent, tmp_path.with_name(f"{tmp_path.name}-undamaged"))
    for position in positions(file):
        flip_a_bit(file, position)
        assert open_cache(tmp_path).missing(SPLIT) == [0], position
        shutil.copytree(undamaged, file.parent)
    assert open_cache(tmp_path).missing(SPLIT) == []


def test_a_flipped_bit_of_a_checkpoint_never_changes_what_is_loaded(tmp_path: Path) -> None:
    [after] = test_checkpoints.trained(tmp_path, 0.3)
    [file] = tmp_path.iterdir()
    undamaged = file.read_bytes()
    for position in positions(file):
        flip_a_bit(file, position)
        model = test_checkpoints.build_network()
        # A few bits have no meaning, such as those of an archive entry's time.
        if EpochCheckpoints(tmp_path).resume(model):
            assert test_checkpoints.same(test_checkpoints.state(model), after.state), position
        else:
            assert not file.exists()
        file.write_bytes(undamaged)


@pytest.fixture(scope="module")
def workshop(tmp_path_factory: pytest.TempPathFactory) -> Workshop:
    """An output root with one run up to the Evaluator."""
    workshop = Workshop(tmp_path_factory.mktemp("damage"))
    run = workshop.run(*OPTIONS)
    assert run.status == 0, run.output
    assert run.steps("done") == NODES | LOOKUPS
    return workshop


@pytest.mark.faults
@pytest.mark.e2e
def test_a_flipped_bit_of_any_output_is_noticed(workshop: Workshop) -> None:
    store = open_store(workshop.output / "metadata.sqlite")
    assert store is not None
    flips = 0
    for artifact in store.get_artifacts():
        assert not integrity.is_damaged(artifact)
        for file in (path for path in Path(artifact.uri).rglob("*") if path.is_file()):
            for position in positions(file, 10):
                flip_a_bit(file, position)
                assert integrity.is_damaged(artifact), (file, position)
                flip_a_bit(file, position)
                flips += 1
    print(f"{flips} flipped bits")
    assert flips > 200


@pytest.mark.faults
@pytest.mark.e2e
@pytest.mark.parametrize(
    ("pattern", "again"),
    [
        ("PredictionTable/predictions/*/Split-test/*.gz", {"PredictionTable", "Evaluator"}),
        ("Trainer/model/*/Format-Serving/variables/*data*", {"Trainer", "PredictionTable", "Evaluator"}),
        ("ImageExampleGen/examples/*/Split-train/*", NODES - {"CuratedSchema"}),
    ],
)
def test_a_run_makes_damaged_outputs_anew(workshop: Workshop, pattern: str, again: set[str]) -> None:
    for file in (workshop.output / "artifacts").glob(pattern):
        flip_a_bit(file, file.stat().st_size // 2)
    run = workshop.run(*OPTIONS)
    assert run.status == 0, run.output
    assert run.steps("done") == again | LOOKUPS
    assert run.steps("cached") == NODES - again
