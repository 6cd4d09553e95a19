"""Which recipe trains best, by cross-validation on training pictures.

    python -m benchmarks.recipe DIR [--variants KEY=VALUE[,KEY=VALUE…] …] [--folds 5] [--work DIR]

DIR holds one folder of pictures for each of two classes, which are training pictures: a test split must not
choose the recipe. A variant is named by the settings of `training` in which it differs from the default one.
The pass of the frozen part runs once for each set of features; then the Trainer's own phases train on all
folds but one, a ninth of which serves as `eval`, and the fold that is left out judges them. All variants see
the same folds, so that their log losses are compared picture by picture. With `--work`, features and
finished variants are kept there, and a measurement that was cut short goes on; what was measured with other
code of the trainer or another weights file is measured anew.

In docs/decisions/012 only the line of the default recipe comes from here.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import numpy as np
import tensorflow as tf

from benchmarks import recipe_table
from benchmarks.recipe_table import Outcome
from components import fingerprint
from pipelines import settings as settings_module
from trainer import feature_pass, hardware, model, phases, stages, weights
from trainer.feature_cache import FeatureCache, Split
from trainer.preprocessing import decode_and_resize
from trainer.recipe import TrainingSettings
from trainer.views import Views

VARIANTS = (
    "",
    "seed=1",
    "seed=2",
    "fine_tuning.epochs=0",
    "fine_tuning.epochs=2",
    "feature_cache.views=1",
    "feature_cache.views=3",
    "feature_cache.views=4",
    "feature_cache.dtype=float32",
    "unfrozen_blocks=2",
    "unfrozen_blocks=4",
    "fine_tuning.learning_rate=5e-5",
    "fine_tuning.learning_rate=2e-4",
    "image_size=192",
    "image_size=160",
    "frozen.epochs=2",
    "frozen.epochs=10",
    "dropout=0",
    "batch_size=64",
)
_PASS_BATCH = 64  # divides a shard of the feature cache
_EVAL_SHARE = 9  # one picture in so many, as the pipeline's split of `train` has it
_SEED = 0
_CODE = fingerprint.of_code("trainer")  # as this process runs it


class Photographs(NamedTuple):
    """JPEG files, and 1 for each of the second class; `digest` names what they hold."""

    files: list[str]
    labels: np.ndarray
    digest: str


def photographs(folder: Path) -> Photographs:
    """Finds the pictures of two classes."""
    classes = sorted(path for path in folder.iterdir() if path.is_dir())
    if len(classes) != 2:
        raise SystemExit(
            f"{folder} holds {len(classes)} folders, and one for each of two classes is expected."
        )
    found = [(str(file), label) for label, one in enumerate(classes) for file in sorted(one.glob("*.jp*g"))]
    digest = hashlib.sha256()
    for file, _ in found:
        digest.update(Path(file).read_bytes())
    labels = np.array([label for _, label in found], np.float32)
    return Photographs([file for file, _ in found], labels, digest.hexdigest())


def fold_of(labels: np.ndarray, folds: int) -> np.ndarray:
    """Returns each picture's fold; each has its share of both classes."""
    random = np.random.default_rng(_SEED)
    fold = np.empty(len(labels), int)
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        fold[members] = np.arange(len(members)) % folds
    return fold


def recipe_of(variant: str) -> TrainingSettings:
    """Returns the default recipe with a variant's settings."""
    overrides = [f"training.{setting}" for setting in variant.split(",") if setting]
    return settings_module.load(overrides=overrides).training


def cross_validate(recipe: TrainingSettings, found: Photographs, folds: int, work: Path) -> Outcome:
    """Trains a recipe once for each fold.

    Args:
        recipe: With the feature cache enabled.
        found: The pictures.
        folds: How many.
        work: Folder of the features.
    """
    features, pass_seconds = _features(recipe, found, work)
    fold = fold_of(found.labels, folds)
    probabilities = np.empty(len(found.labels))
    seconds, kept = 0.0, dict.fromkeys((stages.FROZEN, stages.FINE_TUNING), 0)
    for held_out in range(folds):
        others = np.random.default_rng(_SEED).permutation(np.flatnonzero(fold != held_out))
        evaluation, train = np.split(others, [len(others) // _EVAL_SHARE])
        judged = np.flatnonzero(fold == held_out)
        keras.utils.set_random_seed(recipe.seed)
        backbone = weights.pretrained(recipe.backbone, recipe.image_size, recipe.weights)
        network = model.build(backbone, recipe)
        plan = _plan(network, backbone, recipe, features, found.labels, train, evaluation)
        started = time.process_time()
        with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(sys.stderr):
            folder = Path(scratch)
            history = phases.train(
                plan, backbone, recipe.patience, False, folder / "checkpoints", folder / "logs"
            )
        seconds += time.process_time() - started
        kept[history.kept_phase] += 1
        kind = model.ACTIVATIONS if plan[-1].name == stages.FINE_TUNING else model.POOLED
        answers = plan[-1].model.predict(features[kind][0, judged], batch_size=100, verbose=0)
        probabilities[judged] = answers[:, 0]
        keras.backend.clear_session()
        print(f"  fold {held_out + 1} of {folds}", file=sys.stderr)
    return Outcome(probabilities, pass_seconds, seconds / folds, kept)


def _features(
    recipe: TrainingSettings, found: Photographs, work: Path
) -> tuple[dict[str, np.ndarray], float]:
    """Runs the pass; returns features by kind, [views, pictures, …], and the CPU seconds it took."""
    machine = hardware.on(["CPU:0"])
    keras.utils.set_random_seed(recipe.seed)
    backbone = weights.pretrained(recipe.backbone, recipe.image_size, recipe.weights)
    blocks = recipe.unfrozen_blocks if recipe.fine_tuning.epochs else 0
    parts = model.take_apart(model.build(backbone, recipe), backbone, blocks)
    settings, size = recipe.feature_cache, recipe.image_size
    depends_on = recipe.model_dump(
        mode="json", include={"backbone", "weights", "image_size", "augmentation", "seed", "feature_cache"}
    )
    shapes = {kind: tuple(tensor.shape[1:]) for kind, tensor in parts.frozen.output.items()}
    made_from = {"pictures": found.digest, "blocks": blocks, **_made_with(recipe), **depends_on}
    cache = FeatureCache(work / "features", made_from, shapes, settings.dtype)
    split = Split("train", len(found.files), settings.views)
    encoded = tf.data.Dataset.from_tensor_slices((found.files, found.labels))
    pictures = encoded.map(
        lambda file, label: (decode_and_resize(tf.io.read_file(file)[None], size)[0], label),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    is_there = not cache.missing(split)
    started = time.process_time()
    extractor = functools.partial(feature_pass.extractor, parts.frozen, machine.devices)
    feature_pass.fill(cache, split, pictures, extractor, Views(recipe, split.views), _PASS_BATCH)
    seconds = float("nan") if is_there else time.process_time() - started
    place = np.argsort([view * split.pictures + picture for picture, view in _order(split)])
    kept = {}
    for kind, shape in shapes.items():
        batches = cache.batches(kind, split, _PASS_BATCH, settings.memory_mb).as_numpy_iterator()
        records = np.concatenate([values for values, _ in batches])
        kept[kind] = records[place].reshape(split.views, split.pictures, *shape)
    return kept, seconds


def _order(split: Split) -> Iterator[tuple[int, int]]:
    """Yields picture and view of each record, as the pass writes them: batch by batch, view by view."""
    for first in range(0, split.pictures, _PASS_BATCH):
        for view in range(split.views):
            for picture in range(first, min(first + _PASS_BATCH, split.pictures)):
                yield picture, view


def _plan(
    network: keras.Model,
    backbone: keras.Model,
    recipe: TrainingSettings,
    features: dict[str, np.ndarray],
    labels: np.ndarray,
    train: np.ndarray,
    evaluation: np.ndarray,
) -> list[stages.Stage]:
    blocks = recipe.unfrozen_blocks if recipe.fine_tuning.epochs else 0
    parts = model.take_apart(network, backbone, blocks)

    def data(kind: str) -> tuple[tf.data.Dataset, tf.data.Dataset]:
        views = len(features[kind])
        seen = np.concatenate([view[train] for view in features[kind]])
        fitted = tf.data.Dataset.from_tensor_slices((seen, np.tile(labels[train], views)))
        judged = tf.data.Dataset.from_tensor_slices((features[kind][0, evaluation], labels[evaluation]))
        shuffled = fitted.shuffle(len(seen), seed=recipe.seed)
        return shuffled.batch(recipe.batch_size), judged.batch(recipe.batch_size)

    plan = [stages.Stage(stages.FROZEN, recipe.frozen, 0, parts.head, *data(model.POOLED))]
    if parts.tail is not None:
        tail = (recipe.fine_tuning, blocks, parts.tail, *data(model.ACTIVATIONS))
        plan.append(stages.Stage(stages.FINE_TUNING, *tail))
    return plan


def key(recipe: TrainingSettings, found: Photographs, folds: int) -> str:
    """Returns a name for an outcome, which changes with all that the outcome depends on."""
    what = f"{recipe.model_dump_json()}{_made_with(recipe)}{folds}{found.digest}"
    return hashlib.sha256(what.encode()).hexdigest()[:16]


def _made_with(recipe: TrainingSettings) -> dict[str, str | None]:
    """Returns what features and outcomes depend on that the recipe does not tell."""
    weights_file = weights.file(recipe.weights)
    return {"code": _CODE, "weights_file": fingerprint.of_file(weights_file) if weights_file else None}


def _measured(variant: str, found: Photographs, folds: int, work: Path) -> Outcome:
    """Measures a variant, or reads what an earlier measurement kept."""
    recipe = recipe_of(variant)
    file = work / f"{key(recipe, found, folds)}.json"
    if not file.is_file():
        outcome = cross_validate(recipe, found, folds, work)
        kept = outcome._replace(probabilities=outcome.probabilities.tolist())
        file.with_suffix(".unfinished").write_text(json.dumps(kept), encoding="utf-8")
        file.with_suffix(".unfinished").rename(file)
    outcome = Outcome(*json.loads(file.read_text(encoding="utf-8")))
    return outcome._replace(probabilities=np.array(outcome.probabilities))


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints a table, a line as soon as it is measured."""
    options = _options(arguments)
    found = photographs(options.images)
    with contextlib.ExitStack() as at_end:
        work = options.work or Path(at_end.enter_context(tempfile.TemporaryDirectory()))
        work.mkdir(parents=True, exist_ok=True)
        print(f"{len(found.files):,} pictures, {options.folds} folds; seconds are of CPU time\n")
        print("| differs in | accuracy (95 %) | log loss | against the default | pass | phases | tuned |")
        print("|---|---|---:|---|---:|---:|---:|", flush=True)
        default = _measured("", found, options.folds, work)
        for variant in options.variants:
            print(f"{variant or 'default'}", file=sys.stderr)
            outcome = default if not variant else _measured(variant, found, options.folds, work)
            print(recipe_table.row(variant, outcome, default, found.labels), flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", type=Path, help="training pictures, a folder for each of two classes")
    parser.add_argument(
        "--variants", nargs="+", default=VARIANTS, help="settings that differ, joined by commas"
    )
    parser.add_argument("--folds", type=int, default=5, help="parts of the pictures (default 5)")
    parser.add_argument("--work", type=Path, help="keeps features and results; without it, nothing is kept")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
