"""TensorFlow Datasets as a source: the real `cats_vs_dogs` builder, and generated data sets."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.errors import InputError, PipelineError
from components.image_example_gen.sources import open_source
from trainer import features

CLASSES = ("cat", "dog")


def tfds_source(builder: str, data_dir: Path, download: bool = False) -> dict[str, Any]:
    return {"kind": "tfds", "builder": builder, "data_dir": str(data_dir), "download": download}


def prepare(images: Path, data_dir: Path, name: str = "pictures") -> str:
    """Prepares the TFDS data set `name` from a folder `<split>/<class>/*`; `unlabelled` is no class."""
    import tensorflow_datasets as tfds

    class Images(tfds.core.GeneratorBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
        VERSION = tfds.core.Version("1.0.0")
        labels = tuple(sorted({path.name for path in images.glob("*/*")} - {"unlabelled"}))

        def _info(self) -> Any:
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(
                    {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(names=self.labels)}
                ),
            )

        def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
            return {path.name: self._generate_examples(path) for path in sorted(images.iterdir())}

        def _generate_examples(self, folder: Path) -> Any:
            for path in sorted(folder.glob("*/*")):
                label = path.parent.name
                yield path.name, {"image": path, "label": -1 if label == "unlabelled" else label}

    Images.name = name
    Images(data_dir=data_dir).download_and_prepare()
    return name


def stored(ingested: Any, split: str) -> list[bytes]:
    return [example[features.ENCODED] for example in ingested.features(split)]


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, make_image: Callable[..., bytes]) -> Path:
    """A small version of the `cats_vs_dogs` download: 60 images, and the 1,738 without JFIF that it skips."""
    from components.image_example_gen.drawing import jpeg

    path = tmp_path_factory.mktemp("download") / "kagglecatsanddogs_5340.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme[1].txt", "Cats and dogs")
        for index in range(60):
            label = index % 2
            file.writestr(f"PetImages/{('Cat', 'Dog')[label]}/{index}.jpg", jpeg(index, 0, label))
        other = make_image(0, size=(8, 8)).replace(b"JFIF", b"XXXX")
        for index in range(1738):
            file.writestr(f"PetImages/{('Cat', 'Dog')[index % 2]}/{1000 + index}.jpg", other)
    return path


@pytest.mark.slow
def test_cats_vs_dogs(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ingest: Callable[..., Any]
) -> None:
    from tensorflow_datasets.image_classification import cats_vs_dogs

    monkeypatch.setattr(cats_vs_dogs, "_URL", str(archive))
    data_dir = tmp_path / "tfds"
    source = tfds_source("cats_vs_dogs", data_dir, download=True)
    # dog first: the builder has the other order
    ingested = ingest(
        source, class_names=("dog", "cat"), split={"train": 0.6, "eval": 0.2, "test": 0.2, "seed": 0}
    )
    examples = [example for split in ("train", "eval", "test") for example in ingested.features(split)]
    assert Counter(example[features.CLASS_NAME] for example in examples) == {b"cat": 30, b"dog": 30}
    for example in examples:
        folder, _, number = example[features.FILENAME].decode().removesuffix(".jpg").rpartition("/")
        assert folder == ("PetImages/Cat" if int(number) % 2 == 0 else "PetImages/Dog")
        assert example[features.LABEL] == int(folder == "PetImages/Cat")
        assert example[features.SOURCE_FOLDER] == b"cats_vs_dogs/4.0.1/train"
    assert ingested.counts["rejected"] == {}

    # A prepared data set needs no download; changed files change the fingerprint.
    again = open_source(tfds_source("cats_vs_dogs", data_dir), CLASSES)
    before = again.fingerprint()
    assert open_source(source, CLASSES).fingerprint() == before
    record_file = next(data_dir.rglob("*.tfrecord*"))
    record_file.write_bytes(record_file.read_bytes() + b"more")
    assert open_source(source, CLASSES).fingerprint() != before


@pytest.mark.slow
def test_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tensorflow_datasets.image_classification import cats_vs_dogs

    monkeypatch.setattr(cats_vs_dogs, "_URL", "http://127.0.0.1:9/cats.zip")  # nothing listens there
    with pytest.raises(PipelineError, match="'cats_vs_dogs'") as error:
        open_source(tfds_source("cats_vs_dogs", tmp_path, download=True), CLASSES)
    assert error.value.exit_status == 1


@pytest.mark.parametrize("builder", ["cats_vs_dgos", "cats_vs_dogs:1.2.3", "cats_vs_dogs/nothing"])
def test_unknown_builder(tmp_path: Path, builder: str) -> None:
    with pytest.raises(InputError, match=builder):
        open_source(tfds_source(builder, tmp_path), CLASSES)


def test_source_test_split_and_bytes(
    folder_of: Callable[[Mapping[str, int]], Path], tmp_path: Path, ingest: Callable[..., Any]
) -> None:
    root = folder_of({"train/Dogs": 30, "train/Cats": 30, "test/Dogs": 3, "test/Cats": 4})
    ingested = ingest(tfds_source(prepare(root, tmp_path / "tfds"), tmp_path / "tfds"))
    in_train = Counter(stored(ingested, "train") + stored(ingested, "eval"))
    assert in_train == Counter(path.read_bytes() for path in (root / "train").glob("*/*"))
    assert stored(ingested, "eval")
    assert Counter(stored(ingested, "test")) == Counter(
        path.read_bytes() for path in (root / "test").glob("*/*")
    )
    labels = {path.read_bytes(): int(path.parent.name == "Dogs") for path in root.glob("*/*/*")}
    for split in ("train", "eval", "test"):
        for example in ingested.features(split):
            assert example[features.LABEL] == labels[example[features.ENCODED]]


def test_images_without_a_label_are_rejected(
    folder_of: Callable[[Mapping[str, int]], Path], tmp_path: Path, ingest: Callable[..., Any]
) -> None:
    root = folder_of({"train/cat": 40, "train/dog": 40, "train/unlabelled": 2})
    ingested = ingest(
        tfds_source(prepare(root, tmp_path / "tfds"), tmp_path / "tfds"), max_rejected_fraction=0.1
    )
    assert ingested.counts["rejected"] == {"no label": 2}
    accepted = Counter(data for split in ("train", "eval", "test") for data in stored(ingested, split))
    assert accepted == Counter(path.read_bytes() for path in root.glob("*/[cd]*/*"))


@pytest.mark.parametrize(
    ("layout", "values"),
    [
        ({"train/cat": 1, "train/dog": 1, "train/bird": 1}, ["'bird'", "'cat'", "'dog'"]),
        ({"train/cat": 1, "train/bird": 1}, ["'bird'", "'cat'", "'dog'", "data.class_names"]),
        ({"test/cat": 1, "test/dog": 1}, ["'test'", "'train'"]),
    ],
    ids=["three classes", "other classes", "no train split"],
)
def test_unsuitable_builders_raise_input_error(
    folder_of: Callable[[Mapping[str, int]], Path], tmp_path: Path, layout: dict[str, int], values: list[str]
) -> None:
    name = prepare(folder_of(layout), tmp_path / "tfds")
    with pytest.raises(InputError) as error:
        open_source(tfds_source(name, tmp_path / "tfds"), CLASSES)
    assert all(value in str(error.value) for value in values)
