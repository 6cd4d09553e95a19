from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import UsageError
from serving.local.models_config import ServedModelConfig, config_source

HEAD = 'name: "m" base_path: "/models/m" model_platform: "tensorflow"'


def write(path: Path, *models: str) -> Path:
    path.write_text("model_config_list { " + " ".join(f"config {{ {model} }}" for model in models) + " }")
    return path


def test_serves_the_newest_version_without_a_models_config(tmp_path: Path) -> None:
    [config] = config_source("m", tmp_path)()
    assert config == ServedModelConfig("m", tmp_path)
    assert config.select_versions({9, 30, 1}) == {30}


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        ("", {30}),
        ("model_version_policy { }", {30}),
        ("model_version_policy { latest { } }", {30}),
        ("model_version_policy { latest { num_versions: 2 } }", {9, 30}),
        ("model_version_policy { latest { num_versions: 9 } }", {1, 9, 30}),
        ("model_version_policy { all { } }", {1, 9, 30}),
        ("model_version_policy { specific { versions: 9 versions: 10 } }", {9}),
        ("model_version_policy { specific { } }", set()),
    ],
)
def test_policies_select_versions(policy: str, chosen: set[int], tmp_path: Path) -> None:
    write(tmp_path / "models.config", f"{HEAD} {policy}")
    [config] = config_source("m", tmp_path)()
    assert config.select_versions({9, 30, 1}) == chosen
    assert config.select_versions([]) == set()


def test_ignores_the_base_path_of_a_models_config_in_the_folder(tmp_path: Path) -> None:
    other = HEAD.replace('"m"', '"other"')
    write(
        tmp_path / "models.config", other, f'{HEAD} version_labels {{ key: "stable" value: 3 }} # a comment\n'
    )
    assert config_source("m", tmp_path)() == [ServedModelConfig("m", tmp_path, labels={"stable": 3})]


def test_reads_several_models_from_a_file(tmp_path: Path) -> None:
    second = 'name: "n" base_path: "/elsewhere/n" model_platform: "tensorflow"'
    read = config_source("unused", tmp_path, write(tmp_path / "any.name", HEAD, second))()
    assert [(config.name, config.folder) for config in read] == [
        ("m", Path("/models/m")),
        ("n", Path("/elsewhere/n")),
    ]


def test_reads_the_file_at_each_call(tmp_path: Path) -> None:
    source = config_source("m", tmp_path)
    write(tmp_path / "models.config", f"{HEAD} model_version_policy {{ all {{ }} }}")
    assert source()[0].select_versions([1, 2]) == {1, 2}
    (tmp_path / "models.config").write_text("}")
    with pytest.raises(UsageError):
        source()
    (tmp_path / "models.config").unlink()
    assert source()[0].select_versions([1, 2]) == {2}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model_config_list {", ""),
        ("model_config_lists { }", "model_config_lists"),
        ("", "model_config_list"),
        ("\xff", ""),
        (f"model_config_list {{ config {{ {HEAD} }} config {{ {HEAD} }} }}", "model m "),
        (
            'model_config_list { config { name: "m" base_path: "m" model_platform: "tensorflow" } }',
            "base_path 'm'",
        ),
        (
            'model_config_list { config { name: "m" base_path: "gs://b/m" model_platform: "tensorflow" } }',
            "base_path 'gs://b/m'",
        ),
        ('model_config_list { config { name: "m" base_path: "/m" } }', "platform ''"),
    ],
)
def test_an_invalid_file_is_an_error_with_its_path(text: str, named: str, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError) as refused:
        config_source("m", tmp_path, file)
    assert str(file) in str(refused.value)
    assert named in str(refused.value)


def test_a_missing_file_or_model_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nope"):
        config_source("m", tmp_path, tmp_path / "nope")
    write(tmp_path / "models.config", HEAD)
    with pytest.raises(UsageError, match=r"cats.*\(m\)"):
        config_source("cats", tmp_path)
