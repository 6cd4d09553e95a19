import json
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from pipelines.settings.configs import CONFIGS, config_names
from pipelines.settings.errors import RENAMED, SettingsError
from pipelines.settings.loading import dump, load, load_stored
from pipelines.settings.tree import Settings

BOTH_PHASES_OFF = "training={frozen: {epochs: 0}, fine_tuning: {epochs: 0}}"


def test_every_named_configuration_loads() -> None:
    assert {"quickstart", "full"} <= set(config_names())
    assert "base" not in config_names()
    for name in config_names():
        load(name)


def test_layers_lie_over_each_other_and_the_last_word_is_set_s(tmp_path: Path) -> None:
    named = tmp_path / "mine.yaml"
    named.write_text("training: {batch_size: 8, dropout: 0.5}\n")
    loaded = load(str(named), ["training.batch_size=4", "training.batch_size=16"])
    assert loaded.training.batch_size == 16
    assert loaded.training.dropout == 0.5
    assert loaded.training.image_size == Settings().training.image_size


def test_half_of_a_section_leaves_the_other_half_at_its_default() -> None:
    loaded = load(overrides=["training.frozen.epochs=7"])
    assert loaded.training.frozen.epochs == 7
    assert loaded.training.frozen.learning_rate == Settings().training.frozen.learning_rate


@pytest.mark.parametrize(
    ("overrides", "image_size"),
    [
        ([], 224),
        (["training.backbone=InceptionV3"], 299),
        (["training.backbone=InceptionV3", "training.image_size=96"], 96),
        (["training.image_size=96", "training.image_size=null", "training.backbone=EfficientNetV2S"], 384),
        (["training={backbone: Xception, weights: random}"], 299),
        (["training.backbone=MobilNetV2"], 224),  # refused where Keras is there to name the nearest
    ],
)
def test_the_size_of_the_images_is_the_network_s_own_unless_it_is_set(
    tmp_path: Path, overrides: list[str], image_size: int
) -> None:
    loaded = load(overrides=overrides)
    assert loaded.training.image_size == image_size
    written = tmp_path / "settings.yaml"
    written.write_text(dump(loaded))
    assert load(str(written)) == loaded


def test_a_named_configuration_may_change_the_network_alone(tmp_path: Path) -> None:
    mine = tmp_path / "mine.yaml"
    mine.write_text("training: {backbone: EfficientNetB3}\n")
    assert load(str(mine)).training.image_size == 300
    assert load(str(mine), ["training.backbone=NASNetLarge"]).training.image_size == 331


def test_values_are_yaml() -> None:
    loaded = load(
        overrides=["data.class_names=[muffin, chihuahua]", "data.tfds.download=no", "beam.workers=null"]
    )
    assert loaded.data.class_names == ("muffin", "chihuahua")
    assert loaded.data.tfds.download is False
    assert loaded.beam.workers is None


def test_relative_paths_hold_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(overrides=["data.source=folder", "data.folder=pictures", "output_root=~/out"])
    assert loaded.data.folder == tmp_path / "pictures"
    assert loaded.output_root == Path("~/out").expanduser()
    assert loaded.serving_destination == str(loaded.output_root / "serving_model" / "catsdogs")


def test_pipelines_that_share_a_volume_neither_serve_nor_judge_each_other_s_models() -> None:
    one, other = (
        load(overrides=[f"pipeline_name={name}", "output_root=/state"]) for name in ("pets", "ants")
    )
    for place in ("approvals_dir", "serving_destination"):
        first, second = (Path(getattr(loading, place)) for loading in (one, other))
        assert first.name == "pets"
        assert first.parent == second.parent
        assert first != second


@pytest.mark.parametrize(
    ("overrides", "destination", "base_path"),
    [
        (["output_root=/state"], "/state/serving_model/catsdogs", "/models/catsdogs"),
        (["serving.destination=served/pets/"], "{here}/served/pets", "/models/catsdogs"),
        (["serving.destination=~/served"], "{home}/served", "/models/catsdogs"),
        (["serving.destination=gs://our-models/pets/"], "gs://our-models/pets", "gs://our-models/pets"),
        (["serving.destination=/a", "serving.base_path=/mnt/a"], "/a", "/mnt/a"),
        (["serving.destination=/a", "serving.base_path=gs://our-models"], "/a", "gs://our-models"),
    ],
)
def test_where_models_are_pushed_and_what_the_server_calls_it(
    overrides: list[str],
    destination: str,
    base_path: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load(overrides=overrides)
    assert loaded.serving_destination == destination.format(here=tmp_path, home=Path.home())
    assert loaded.serving_base_path == base_path


@pytest.mark.parametrize(
    "place",
    [
        *("''", "gs:/bucket/pets", "gs://B/pets", "s3://bucket/pets", "gs://bucket/a?b"),
        *("gs://bucket", "gs://bucket/", "gs://bucket//pets"),
    ],
)
def test_where_models_cannot_be_pushed(place: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=[f"serving.destination={place}"])
    for named in ("serving.destination", repr(place.strip("'")), "gs://BUCKET/FOLDER"):
        assert named in str(caught.value)


def test_a_weights_file_holds_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given, meant in (
        ("imagenet", "imagenet"),
        ("mine.h5", tmp_path / "mine.h5"),
        ("~/mine.h5", Path("~/mine.h5").expanduser()),
    ):
        assert load(overrides=[f"training.weights={given}"]).training.weights == str(meant)


def test_what_dump_writes_load_reads_back(tmp_path: Path) -> None:
    loaded = load("full", ["training.seed=3", "data.class_names=[a, b]", "data.tfds.data_dir=here"])
    file = tmp_path / "settings.yaml"
    file.write_text(dump(loaded))
    assert load(str(file)) == loaded
    assert yaml.safe_load(file.read_text())["training"]["seed"] == 3


@pytest.mark.parametrize(
    ("override", "named"),
    [
        # names
        ("training.bacth_size=3", ["'training.bacth_size'", "'training.batch_size'"]),
        ("tranining.batch_size=3", ["'tranining'", "'training'"]),
        ("batch_size=3", ["'batch_size'", "'training.batch_size'"]),
        ("sample.count=3", ["'sample'", "'data.sample'"]),
        ("evaluation.min_slices_accuracy=0.7", ["'evaluation.min_slice_accuracy'"]),
        ("training.zzz=3", ["'training.zzz'", "augmentation, backbone,"]),
        ("zzz=1", ["'zzz'", "beam, data, evaluation, kubeflow, output_root,"]),
        ("1=2", ["'1'"]),
        # kinds of values
        ("data.source=fodler", ["data.source", "'fodler'", "'sample', 'folder' or 'tfds'", "mean 'folder'"]),
        ("data.source=zzz", ["data.source", "'zzz'", "'sample', 'folder' or 'tfds'"]),
        ("evaluation.missing_baseline=ignored", ["'ignored'", "'refuse' or 'ignore'", "mean 'ignore'"]),
        ("data=5", ["data", "5", "source, folder,"]),
        ("data.split.seed.a=1", ["data.split.seed", "{'a': 1}", "whole number"]),
        ("training.batch_size=abc", ["training.batch_size", "'abc'", "whole number"]),
        ("training.batch_size=1.5", ["training.batch_size", "1.5", "whole number"]),
        ("training.dropout=much", ["training.dropout", "'much'", "number"]),
        ("data.tfds.download=maybe", ["data.tfds.download", "'maybe'", "true", "false"]),
        ("data.folder=3", ["data.folder", "3", "path"]),
        ("output_root=", ["output_root", "None", "path"]),
        ("pipeline_name=", ["pipeline_name", "None", "string"]),
        ("pipeline_name=My Cats", ["pipeline_name", "'My Cats'", "a-z", "0-9"]),
        # ranges
        ("training.batch_size=0", ["training.batch_size", "is 0", "1"]),
        ("training.dropout=1", ["training.dropout", "is 1", "less than 1"]),
        ("data.max_rejected_fraction=-0.1", ["data.max_rejected_fraction", "-0.1", "0"]),
        ("evaluation.min_accuracy=98", ["evaluation.min_accuracy", "98", "1"]),
        ("evaluation.min_slice_accuracy=80", ["evaluation.min_slice_accuracy", "80", "1"]),
        ("evaluation.min_slice_images=0", ["evaluation.min_slice_images", "is 0", "1"]),
        ("evaluation.max_accuracy_loss=-0.01", ["evaluation.max_accuracy_loss", "-0.01", "0"]),
        ("evaluation.false_block_rate=0", ["evaluation.false_block_rate", "is 0"]),
        ("evaluation.missed_loss_rate=5", ["evaluation.missed_loss_rate", "is 5", "0.5"]),
        ("evaluation.max_model_mb=0", ["evaluation.max_model_mb", "is 0"]),
        ("evaluation.min_prediction_consistency=97", ["evaluation.min_prediction_consistency", "97", "1"]),
        # what does not go together
        ("data.split.train=0.5", ["data.split", "0.7"]),
        ("data.max_pixels=60000000", ["data.max_pixels", "60000000", "serving.max_pixels", "50000000"]),
        ("data.split={train: 1, eval: 0, test: 0}", ["data.split", "0"]),
        ("data.source=folder", ["data", "'folder'", "--images DIR"]),
        ("data.class_names=[cat]", ["data.class_names", "['cat']", "[cat, dog]"]),
        ("data.class_names=[a, b, c]", ["data.class_names", "['a', 'b', 'c']", "[cat, dog]"]),
        ("data.class_names=cat", ["data.class_names", "'cat'", "[cat, dog]"]),
        ("data.class_names=[cat, Cat]", ["class_names", "'cat'"]),
        ("data.class_names=[big cat, dog]", ["class_names", "['big cat', 'dog']"]),
        (BOTH_PHASES_OFF, ["frozen.epochs", "fine_tuning.epochs", "0"]),
        # the form of --set
        ("training.seed", ["'training.seed'", "KEY=VALUE", "training.batch_size=64"]),
        ("=3", ["'=3'", "KEY=VALUE"]),
        ("data..seed=3", ["'data..seed=3'", "KEY=VALUE"]),
        ("training.seed={a: [", ["'training.seed={a: ['", "'{a: ['", "quotes"]),
    ],
)
def test_a_wrong_setting_gets_one_sentence_with_value_and_cure(override: str, named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=[override])
    assert [part for part in named if part not in str(caught.value)] == []
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ("quikstart", ["'quikstart'", "'quickstart'"]),
        ("zzz", ["'zzz'", "full, "]),
        ("missing.yaml", ["missing.yaml"]),
        (".", [" . ", "folder"]),
    ],
)
def test_a_configuration_that_is_not_there(config: str, named: list[str]) -> None:
    with pytest.raises(SettingsError) as caught:
        load(config)
    assert [part for part in named if part not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"training: {batch_size: 8", "YAML"),
        (b"- training\n- data\n", "list"),
        (b"\xff\xfe\x00", "utf-8"),
        (b"training: {bacth_size: 8}", "'training.batch_size'"),
    ],
)
def test_a_configuration_file_with_a_mistake(tmp_path: Path, content: bytes, named: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(str(file))
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_configuration_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.touch()
    assert load(str(file)) == load(str(file), ["training.seed=0"])


def test_a_configuration_file_that_may_not_be_read(unprivileged: Path) -> None:
    file = unprivileged / "secret.yaml"
    file.touch(mode=0o000)
    with pytest.raises(SettingsError, match="secret.yaml"):
        load(str(file))


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_a_renamed_setting_is_suggested_and_still_read_from_an_earlier_run(
    old: str, new: str, tmp_path: Path
) -> None:
    *sections, leaf = new.split(".")
    value: object = load()
    for name in (*sections, leaf):
        value = getattr(value, name)
    value = value.model_dump() if isinstance(value, BaseModel) else value
    with pytest.raises(SettingsError) as caught:
        load(overrides=[f"{old}={json.dumps(value)}"])
    assert repr(new) in str(caught.value)
    tree: dict[str, object] = {old.rpartition(".")[2]: value}
    for name in reversed(old.split(".")[:-1]):
        tree = {name: tree}
    stored = tmp_path / "settings.yaml"
    stored.write_text(json.dumps(tree))
    assert load_stored(stored) == load(str(CONFIGS / "base.yaml"))
