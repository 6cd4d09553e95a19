"""The ingest component, its driver, and its executor in a real Beam pipeline."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import resource
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from components.errors import DataRejected, InputError, PipelineError
from components.image_example_gen import splits
from components.image_example_gen.sources import open_source
from components.image_example_gen.sources.folder import FolderSource
from components.progress import Progress
from trainer import features

FolderOf = Callable[[Mapping[str, int]], Path]
MakeImage = Callable[..., bytes]


def folder(path: Path) -> dict[str, Any]:
    return {"kind": "folder", "folder": str(path)}


def everything(ingested: Any) -> dict[str, list[dict[str, Any]]]:
    return {split: ingested.features(split) for split in ("train", "eval", "test")}


def test_examples_hold_the_bytes_and_all_features(folder_of: FolderOf, ingest: Callable[..., Any]) -> None:
    root = folder_of({"Cats": 40, "dogs": 40})
    found = everything(ingest(folder(root)))
    examples = [example for split in found.values() for example in split]
    assert len(examples) == 80
    for example in examples:
        name = example[features.FILENAME].decode()
        data = (root / name).read_bytes()
        brightness, contrast = example.pop(features.BRIGHTNESS), example.pop(features.CONTRAST)
        assert 0 < brightness < 1
        assert 0 < contrast < 0.5
        assert example == {
            features.ENCODED: data,
            features.FILENAME: name.encode(),
            features.DIGEST: hashlib.sha256(data).hexdigest().encode(),
            features.LABEL: int(name.startswith("dogs")),
            features.CLASS_NAME: b"dog" if name.startswith("dogs") else b"cat",
            features.HEIGHT: 40,
            features.WIDTH: 48,
            features.FORMAT: b"jpeg",
            features.MODE: b"RGB",
            features.BYTE_SIZE: len(data),
            features.SOURCE_FOLDER: name.split("/")[0].encode(),
            features.RESOLUTION_RANGE: b"under 50k pixels",
            features.ASPECT_RANGE: b"landscape",
            features.BRIGHTNESS_RANGE: b"medium",
            features.BYTE_SIZE_RANGE: b"under 16 kB",
        }
    named = {features.ENCODED, features.FILENAME, *features.INTEGERS, *features.FLOATS, *features.STRINGS}
    assert {*examples[0], features.BRIGHTNESS, features.CONTRAST} == named


def test_tfx_components_read_the_artifact(folder_of: FolderOf, ingest: Callable[..., Any]) -> None:
    from tfx.components.util import tfxio_utils
    from tfx_bsl.tfxio import dataset_options

    ingested = ingest(folder(folder_of({"cat": 40, "dog": 40})))
    assert ingested.artifact.splits == ["train", "eval", "test"]
    counted = 0
    for split in ingested.artifact.splits:
        tfxio = tfxio_utils.get_split_tfxio([ingested.artifact], split, telemetry_descriptors=["test"])
        for batch in tfxio.RecordBatches(dataset_options.RecordBatchesOptions(batch_size=8, num_epochs=1)):
            counted += batch.num_rows
    assert counted == 80
    assert not (ingested.examples / "unfinished").exists()


def test_two_runs_write_the_same_files(folder_of: FolderOf, ingest: Callable[..., Any]) -> None:
    root = folder_of({"cat": 40, "dog": 40})

    def contents(ingested: Any) -> dict[str, str]:
        return {
            path.relative_to(ingested.examples).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in ingested.examples.rglob("data_tfrecord-*")
        }

    first, again = contents(ingest(folder(root), out="1")), contents(ingest(folder(root), out="2"))
    assert first == again
    assert len(first) >= 3


def test_identical_images_are_in_the_same_split(folder_of: FolderOf, ingest: Callable[..., Any]) -> None:
    root = folder_of({"cat": 60, "dog": 60})
    for path in list(root.rglob("*.jpg")):
        (path.parent / f"copy-{path.name}").write_bytes(path.read_bytes())
    found = everything(ingest(folder(root)))
    seen = {split: Counter(example[features.ENCODED] for example in found[split]) for split in found}
    assert {count for counter in seen.values() for count in counter.values()} == {2}
    assert sum(map(len, seen.values())) == len(set().union(*seen.values())) == 120


def test_shares_and_seed() -> None:
    shares = {"train": 0.8, "eval": 0.15, "test": 0.05}
    digests = [splits.digest(b"%d" % index) for index in range(20_000)]

    def assigned(seed: int, allowed: tuple[str, ...]) -> list[str]:
        return [splits.assign_split(digest, shares, seed, allowed) for digest in digests]

    first = assigned(0, ("train", "eval", "test"))
    for split, share in shares.items():
        assert first.count(split) / len(first) == pytest.approx(share, abs=0.01)
    assert assigned(0, ("train", "eval", "test")) == first
    assert sum(a != b for a, b in zip(first, assigned(1, ("train", "eval", "test")), strict=True)) > 4000
    carved = assigned(0, ("train", "eval"))
    assert carved.count("eval") / len(carved) == pytest.approx(0.15 / 0.95, abs=0.01)
    assert set(assigned(0, ("test",))) == {"test"}


def test_links_that_lead_out_of_the_folder_are_counted_and_logged(
    folder_of: FolderOf,
    ingest: Callable[..., Any],
    tmp_path: Path,
    make_image: MakeImage,
    caplog: pytest.LogCaptureFixture,
) -> None:
    root = folder_of({"cat": 20, "dog": 20})
    (tmp_path / "elsewhere.jpg").write_bytes(make_image(1000))
    (root / "cat" / "link.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    ingested = ingest(folder(root))
    assert sum(map(len, everything(ingested).values())) == 41
    assert ingested.counts["outside_links"] == 1
    assert f"'{root}/cat/link.jpg'" in caplog.text


def test_source_test_split_and_leaks(
    folder_of: FolderOf, ingest: Callable[..., Any], make_image: MakeImage, caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of({"train/cats": 40, "train/dogs": 40, "validation/cats": 5, "validation/dogs": 5})
    (root / "validation/cats/again.jpg").write_bytes((root / "train/cats/0003.jpg").read_bytes())
    (root / "train/dogs/twice.jpg").write_bytes((root / "train/dogs/0050.jpg").read_bytes())
    ingested = ingest(folder(root))
    found = everything(ingested)
    assert {example[features.SOURCE_FOLDER].split(b"/")[0] for example in found["test"]} == {b"validation"}
    assert len(found["test"]) == 11
    for split in ("train", "eval"):
        assert {example[features.SOURCE_FOLDER].split(b"/")[0] for example in found[split]} == {b"train"}
    assert len(found["train"]) + len(found["eval"]) == 81
    assert ingested.counts["in_test_and_elsewhere"] == 1
    assert "train/cats/0003.jpg" in caplog.text
    assert "validation/cats/again.jpg" in caplog.text


def test_no_leaks_no_warning(
    folder_of: FolderOf, ingest: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of({"train/cats": 40, "train/dogs": 40, "test/cats": 5, "test/dogs": 5})
    assert ingest(folder(root)).counts["in_test_and_elsewhere"] == 0
    assert not [record for record in caplog.records if record.name.endswith("image_example_gen.executor")]


def add_invalid_files(root: Path) -> None:
    """Adds five files that cannot be used."""
    (root / "cat" / "empty.jpg").touch()
    (root / "cat" / "text.jpg").write_text("not an image")
    (root / "cat" / "gone.jpg").symlink_to(root / "nowhere")
    whole = next((root / "dog").glob("*.jpg")).read_bytes()
    (root / "dog" / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "dog" / "less.jpg").write_bytes(whole[: len(whole) // 3])


def test_invalid_files_are_rejected_and_listed(
    folder_of: FolderOf, ingest: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of({"cat": 40, "dog": 40})
    add_invalid_files(root)
    ingested = ingest(folder(root), max_rejected_fraction=5 / 85)
    assert [line.rsplit(",", 1)[0] for line in ingested.rejected] == [
        "cat/empty.jpg,empty file",
        "cat/gone.jpg,cannot be read",
        "cat/text.jpg,not a JPEG or PNG",
        "dog/half.jpg,damaged",
        "dog/less.jpg,damaged",
    ]
    assert ingested.counts["rejected"] == {
        "empty file": 1,
        "cannot be read": 1,
        "not a JPEG or PNG": 1,
        "damaged": 2,
    }
    assert sum(sum(split.values()) for split in ingested.counts["accepted"].values()) == 80
    assert "cat/gone.jpg: cannot be read (No such file or directory)" in caplog.text
    assert sum(map(len, everything(ingested).values())) == 80


def test_too_many_invalid_files_fail_the_run(folder_of: FolderOf, ingest: Callable[..., Any]) -> None:
    root = folder_of({"cat": 40, "dog": 40})
    add_invalid_files(root)
    with pytest.raises(DataRejected) as error:
        ingest(folder(root), max_rejected_fraction=0.058)
    for value in ("5 of 85", "5.88%", "5.80%", "2 images", "dog/half.jpg", "data.max_rejected_fraction"):
        assert value in str(error.value)
    assert error.value.exit_status == 4


def test_log_lists_all_rejected_files_of_a_failed_run(
    folder_of: FolderOf, ingest: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of({"cat": 40, "dog": 40})
    for index in range(120):
        (root / "cat" / f"empty{index}.jpg").touch()
    ingest(folder(root), max_rejected_fraction=0.6)
    assert len(re.findall(r"cat/empty\d+\.jpg", caplog.text)) == 100
    assert " 20 more" in caplog.text

    caplog.clear()
    with pytest.raises(DataRejected):
        ingest(folder(root), max_rejected_fraction=0.5, out="rejected")
    logged = set(re.findall(r"cat/empty\d+\.jpg", caplog.text))
    assert logged == {f"cat/empty{index}.jpg" for index in range(120)}


def test_names_of_rejected_files_are_printable(
    folder_of: FolderOf, ingest: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    root = folder_of({"cat": 4, "dog": 4})
    (root / "cat" / "\x1b[2J\nempty.jpg").touch()
    with pytest.raises(DataRejected) as error:
        ingest(folder(root), max_rejected_fraction=0)
    for text in (caplog.text, str(error.value)):
        assert r"cat/\x1b[2J\nempty.jpg" in text


def test_too_large_images_are_rejected(
    folder_of: FolderOf, ingest: Callable[..., Any], make_image: MakeImage
) -> None:
    root = folder_of({"cat": 40, "dog": 40})
    (root / "cat" / "large.png").write_bytes(make_image(1, "PNG", size=(100, 50)))
    ingested = ingest(folder(root), max_rejected_fraction=0.1, max_pixels=4999)
    assert ingested.rejected == ['cat/large.png,too many pixels,"100 × 50, the limit is 4,999"']


def test_empty_split_fails_the_run(folder_of: FolderOf, ingest: Callable[..., Any]) -> None:
    shares = {"train": 0.7, "eval": 1e-9, "test": 0.3, "seed": 0}
    with pytest.raises(DataRejected, match="'eval'"):
        ingest(folder(folder_of({"cat": 2, "dog": 2})), split=shares)


def test_names_that_are_not_utf8(
    folder_of: FolderOf, ingest: Callable[..., Any], make_image: MakeImage
) -> None:
    root = folder_of({"train/cat": 40, "train/dog": 40, "test/cat": 1, "test/dog": 1})
    for name, data in ((b"\xff.jpg", make_image(500)), (b"\xfe.jpg", b"")):
        with open(os.fsencode(root) + b"/train/cat/" + name, "wb") as file:  # noqa: PTH123
            file.write(data)
    ingested = ingest(folder(root), max_rejected_fraction=0.1)
    assert ingested.rejected == ["train/cat/\\udcfe.jpg,empty file,"]
    names = {example[features.FILENAME] for split in everything(ingested).values() for example in split}
    assert b"train/cat/\\udcff.jpg" in names


@pytest.fixture
def small_files_only() -> Iterator[None]:
    """Limits files to 20 kB, to simulate a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files_only")
def test_full_disk(folder_of: FolderOf, ingest: Callable[..., Any]) -> None:
    with pytest.raises(OSError, match="train-data_tfrecord-0000") as error:
        ingest(folder(folder_of({"cat": 100, "dog": 100})))
    assert "examples/unfinished/" in str(error.value.filename)


@pytest.mark.parametrize("made", ["", "unfinished", "Split-train"])
def test_read_only_disk(unprivileged: Path, made: str) -> None:
    from components.image_example_gen.shards import ShardWriter

    (unprivileged / made).mkdir(exist_ok=True)
    (unprivileged / made).chmod(0o500)
    with pytest.raises(PermissionError, match="unfinished"), ShardWriter(str(unprivileged), 0, 1) as writer:
        writer.write("train", b"record")


def test_shards_are_complete_or_absent(tmp_path: Path) -> None:
    from components.image_example_gen.shards import ShardWriter

    def interrupted() -> None:
        with ShardWriter(str(tmp_path), 0, 2) as writer:
            writer.write("train", b"record")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not (tmp_path / "Split-train").exists()
    with ShardWriter(str(tmp_path), 1, 2) as writer:
        writer.write("train", b"record")
        assert not (tmp_path / "Split-train").exists()
    assert [path.name for path in (tmp_path / "Split-train").iterdir()] == ["data_tfrecord-00001-of-00002"]


def test_progress_is_reported(
    folder_of: FolderOf, ingest: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "catsdogs.progress"):
        ingest(folder(folder_of({"cat": 40, "dog": 40})))
    assert "80 of 80 images" in caplog.messages


def test_component_and_driver(folder_of: FolderOf, make_image: MakeImage) -> None:
    from tfx.orchestration.portable.data_types import ExecutionInfo

    from components.image_example_gen.component import ImageExampleGen
    from components.image_example_gen.config import DataConfig

    root = folder_of({"cat": 2, "dog": 2})
    component = ImageExampleGen(DataConfig(source="folder", folder=root))
    assert component.id == "ImageExampleGen"
    properties = component.exec_properties
    assert json.loads(properties["source"]) == folder(root)
    assert len(properties["code_fingerprint"]) == 64

    def data_fingerprint() -> str:
        output = ImageExampleGen.DRIVER_CLASS(None).run(ExecutionInfo(exec_properties=properties))
        return str(output.exec_properties["data_fingerprint"].string_value)

    before = data_fingerprint()
    assert data_fingerprint() == before
    (root / "cat" / "new.jpg").write_bytes(make_image(9))
    assert data_fingerprint() != before
    (root / "cat").rename(root / "horse")
    with pytest.raises(InputError, match="'horse'"):
        data_fingerprint()


def test_unchanged_images_are_ingested(folder_of: FolderOf, ingest: Callable[..., Any]) -> None:
    source = folder(folder_of({"cat": 40, "dog": 40}))
    fingerprint = open_source(source, ("cat", "dog")).fingerprint()
    assert sum(map(len, everything(ingest(source, data_fingerprint=fingerprint)).values())) == 80


@pytest.mark.parametrize("present", ["from_the_start", "from_then_on", "only_then"])
def test_images_that_change_during_the_run_fail_it(
    present: str,
    folder_of: FolderOf,
    ingest: Callable[..., Any],
    make_image: MakeImage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    root = folder_of({"cat": 40, "dog": 40})
    fingerprint = open_source(folder(root), ("cat", "dog")).fingerprint()
    new = root / "cat" / "new.jpg"
    portions, progress = FolderSource.portions, Progress.__init__

    def add(self: FolderSource) -> Any:
        if present == "from_then_on":
            new.write_bytes(make_image(9))
        return portions(self)

    def remove(self: Progress, total: int) -> None:
        if present == "only_then":
            new.unlink(missing_ok=True)
        progress(self, total)

    if present != "from_then_on":
        new.write_bytes(make_image(9))
    monkeypatch.setattr(FolderSource, "portions", add)
    monkeypatch.setattr(Progress, "__init__", remove)
    with pytest.raises(PipelineError, match=str(root)):
        ingest(folder(root), data_fingerprint=fingerprint, max_rejected_fraction=0.5)


def test_shards_can_be_in_a_tensorflow_file_system() -> None:
    """Such as gs:// on Kubeflow."""
    import tensorflow as tf

    from components.image_example_gen.shards import ShardWriter

    uri = "ram://bucket/run/examples"
    with ShardWriter(uri, 0, 1) as writer:
        writer.write("train", b"an image")
        assert tf.io.gfile.glob(f"{uri}/Split-*/*") == []
    [file] = tf.io.gfile.glob(f"{uri}/Split-*/*")
    assert file == f"{uri}/Split-train/data_tfrecord-00000-of-00001"
    assert list(tf.data.TFRecordDataset(file).as_numpy_iterator()) == [b"an image"]
