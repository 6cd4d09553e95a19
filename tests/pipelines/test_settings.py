import os
from pathlib import Path

import pytest
import yaml

from pipelines import settings
from pipelines.settings import Settings, SettingsError, load

BOTH_PHASES_OFF = "training={frozen: {epochs: 0}, fine_tuning: {epochs: 0}}"


def test_every_named_configuration_loads() -> None:
    assert {"quickstart", "full"} <= set(settings.config_names())
    assert "base" not in settings.config_names()
    for name in settings.config_names():
        load(name)


def test_quickstart_draws_its_pictures_and_full_takes_the_tfds_builder() -> None:
    assert load().data.source == "sample"
    full = load("full")
    assert (full.data.source, full.data.tfds.builder) == ("tfds", "cats_vs_dogs")


def test_layers_lie_over_each_other_and_the_last_word_is_set_s(tmp_path: Path) -> None:
    named = tmp_path / "mine.yaml"
    named.write_text("training: {batch_size: 8, dropout: 0.5}\n")
    loaded = load(str(named), ["training.batch_size=16"])
    assert loaded.training.batch_size == 16
    assert loaded.training.dropout == 0.5
    assert loaded.training.image_size == Settings().training.image_size


def test_a_later_override_wins() -> None:
    assert load(overrides=["training.seed=1", "training.seed=2"]).training.seed == 2


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
def test_the_size_of_the_pictures_is_the_network_s_own_unless_it_is_set(
    tmp_path: Path, overrides: list[str], image_size: int
) -> None:
    loaded = load(overrides=overrides)
    assert loaded.training.image_size == image_size
    written = tmp_path / "settings.yaml"
    written.write_text(settings.dump(loaded))
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
        first, second = (Path(getattr(settings, place)) for settings in (one, other))
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
    assert str(caught.value) == (
        f"serving.destination: {place.strip(chr(39))!r} is no place for models: it must be a folder, or "
        "gs://BUCKET/FOLDER."
    )


@pytest.mark.parametrize("weights", ["packaged", "imagenet", "random"])
def test_weights_that_are_no_file_keep_their_name(weights: str) -> None:
    assert load(overrides=[f"training.weights={weights}"]).training.weights == weights


def test_a_weights_file_holds_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for given, meant in (("mine.h5", tmp_path / "mine.h5"), ("~/mine.h5", Path("~/mine.h5").expanduser())):
        assert load(overrides=[f"training.weights={given}"]).training.weights == str(meant)


def test_what_dump_writes_load_reads_back(tmp_path: Path) -> None:
    loaded = load("full", ["training.seed=3", "data.class_names=[a, b]", "data.tfds.data_dir=here"])
    file = tmp_path / "settings.yaml"
    file.write_text(settings.dump(loaded))
    assert load(str(file)) == loaded
    assert yaml.safe_load(file.read_text())["training"]["seed"] == 3


@pytest.mark.parametrize(
    ("overrides", "spec"),
    [
        (["data.source=folder", "data.folder=/x"], {"kind": "folder", "folder": "/x"}),
        (["data.sample.count=10"], {"kind": "sample", "count": 10, "seed": 0}),
        (
            ["data.source=tfds", "data.tfds.data_dir=/d"],
            {"kind": "tfds", "builder": "cats_vs_dogs", "data_dir": "/d", "download": True},
        ),
        (
            ["data.source=tfds", "data.tfds.download=false"],
            {"kind": "tfds", "builder": "cats_vs_dogs", "data_dir": None, "download": False},
        ),
    ],
)
def test_the_source_alone_is_what_the_component_takes(overrides: list[str], spec: dict[str, object]) -> None:
    assert load(overrides=overrides).data.source_spec == spec


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        # names
        (
            "training.bacth_size=3",
            "There is no setting 'training.bacth_size'. Did you mean 'training.batch_size'?",
        ),
        ("tranining.batch_size=3", "There is no setting 'tranining'. Did you mean 'training'?"),
        ("batch_size=3", "There is no setting 'batch_size'. Did you mean 'training.batch_size'?"),
        ("sample.count=3", "There is no setting 'sample'. Did you mean 'data.sample'?"),
        ("training.zzz=3", "There is no setting 'training.zzz'. Valid are: augmentation, backbone,"),
        ("zzz=1", "There is no setting 'zzz'. Valid are: beam, data, evaluation, kubeflow, output_root,"),
        ("1=2", "There is no setting '1'."),
        # kinds of values
        (
            "data.source=fodler",
            "is 'fodler': it must be 'sample', 'folder' or 'tfds'. Did you mean 'folder'?",
        ),
        ("data.source=zzz", "The setting data.source is 'zzz': it must be 'sample', 'folder' or 'tfds'."),
        ("data=5", "The setting data is 5, and must hold settings of its own: source, folder,"),
        ("data.split.seed.a=1", "The setting data.split.seed is {'a': 1}: it must be a whole number."),
        ("training.batch_size=abc", "The setting training.batch_size is 'abc': it must be a whole number."),
        ("training.batch_size=1.5", "The setting training.batch_size is 1.5: it must be a whole number."),
        ("training.dropout=much", "The setting training.dropout is 'much': it must be a number."),
        ("data.tfds.download=maybe", "The setting data.tfds.download is 'maybe': it must be true or false."),
        ("data.folder=3", "The setting data.folder is 3: it must be a path."),
        ("output_root=", "The setting output_root is None: it must be a path."),
        ("pipeline_name=", "The setting pipeline_name is None: it must be a text."),
        (
            "pipeline_name=My Cats",
            "is 'My Cats': it must begin with a-z, and hold a-z, 0-9 and hyphens only.",
        ),
        # ranges
        (
            "training.batch_size=0",
            "The setting training.batch_size is 0: it must be greater than or equal to 1.",
        ),
        ("training.dropout=1", "The setting training.dropout is 1: it must be less than 1."),
        ("evaluation.min_accuracy=98", "evaluation.min_accuracy is 98: it must be less than or equal to 1."),
        ("data.max_bad_fraction=-0.1", "is -0.1: it must be greater than or equal to 0."),
        # what does not go together
        ("data.split.train=0.5", "data.split: train + eval + test must be 1, and are 0.7."),
        ("data.split={train: 1, eval: 0, test: 0}", "data.split: train, eval and test must each be above 0."),
        ("data.source=folder", "data: source is 'folder' and folder is not set: name it with --images DIR."),
        ("data.class_names=[cat]", "it must be a list of two classes, such as [cat, dog], and is ['cat']."),
        (
            "data.class_names=[a, b, c]",
            "must be a list of two classes, such as [cat, dog], and is ['a', 'b', 'c'].",
        ),
        ("data.class_names=cat", "it must be a list of two classes, such as [cat, dog], and is 'cat'."),
        ("data.class_names=[cat, Cat]", "data: the two class_names must differ, and are both 'cat'."),
        ("data.class_names=[big cat, dog]", "data: class_names ['big cat', 'dog'] must be plain words"),
        (BOTH_PHASES_OFF, "training: frozen.epochs and fine_tuning.epochs are both 0"),
        # the form of --set
        ("training.seed", "--set 'training.seed' must be KEY=VALUE, for example training.batch_size=64."),
        ("=3", "--set '=3' must be KEY=VALUE"),
        ("data..seed=3", "--set 'data..seed=3' must be KEY=VALUE"),
        (
            "training.seed={a: [",
            "--set 'training.seed={a: [': the value '{a: [' is not YAML; put it in quotes.",
        ),
    ],
)
def test_a_wrong_setting_gets_one_sentence_with_value_and_cure(override: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(overrides=[override])
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_status == 2


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ("quikstart", "There is no configuration or file 'quikstart'. Did you mean 'quickstart'?"),
        ("zzz", "There is no configuration or file 'zzz'. Valid are: full, "),
        ("missing.yaml", "The configuration file missing.yaml does not exist."),
        (".", "The configuration file . is a folder, and a YAML file is expected."),
    ],
)
def test_a_configuration_that_is_not_there(config: str, sentence: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(config)
    assert str(caught.value).startswith(sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"training: {batch_size: 8", "is not YAML: "),
        (b"- training\n- data\n", "must hold keys and values, not a list."),
        (b"\xff\xfe\x00", "cannot be read: "),
        (b"training: {bacth_size: 8}", "Did you mean 'training.batch_size'?"),
    ],
)
def test_a_configuration_file_with_a_mistake(tmp_path: Path, content: bytes, sentence: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load(str(file))
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_empty_configuration_file_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "empty.yaml"
    file.touch()
    assert load(str(file)) == load(str(file), ["training.seed=0"])


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_configuration_file_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "secret.yaml"
    file.touch(mode=0o000)
    with pytest.raises(SettingsError, match="cannot be read: .*Permission denied"):
        load(str(file))
