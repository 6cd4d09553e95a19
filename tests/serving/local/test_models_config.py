from __future__ import annotations

from pathlib import Path

import pytest

from serving.errors import UsageError
from serving.local.models_config import All, Latest, ModelConfig, Specific, configs

HEAD = 'name: "m" base_path: "/models/m" model_platform: "tensorflow"'


def write(path: Path, *models: str) -> Path:
    path.write_text("model_config_list { " + " ".join(f"config {{ {model} }}" for model in models) + " }")
    return path


def test_a_folder_alone_serves_its_newest_version(tmp_path: Path) -> None:
    assert configs("m", tmp_path)() == [ModelConfig("m", tmp_path, Latest(1), {})]


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        ("", Latest(1)),
        ("model_version_policy { }", Latest(1)),
        ("model_version_policy { latest { } }", Latest(1)),
        ("model_version_policy { latest { num_versions: 2 } }", Latest(2)),
        ("model_version_policy { all { } }", All()),
        ("model_version_policy { specific { versions: 3 versions: 1 } }", Specific(frozenset({1, 3}))),
        ("model_version_policy { specific { } }", Specific(frozenset())),
    ],
)
def test_policies(policy: str, expected: object, tmp_path: Path) -> None:
    write(tmp_path / "models.config", f"{HEAD} {policy}")
    [config] = configs("m", tmp_path)()
    assert config.policy == expected


@pytest.mark.parametrize(
    ("policy", "chosen"),
    [
        (Latest(1), {30}),
        (Latest(2), {9, 30}),
        (Latest(9), {1, 9, 30}),
        (All(), {1, 9, 30}),
        (Specific(frozenset({9, 10})), {9}),
    ],
)
def test_policies_choose(policy: Latest | All | Specific, chosen: set[int]) -> None:
    assert policy.chosen({9, 30, 1}) == chosen
    assert policy.chosen([]) == set()


def test_beside_the_versions_labels_count_and_the_base_path_does_not(tmp_path: Path) -> None:
    other = HEAD.replace('"m"', '"other"')
    write(
        tmp_path / "models.config", other, f'{HEAD} version_labels {{ key: "stable" value: 3 }} # a comment\n'
    )
    assert configs("m", tmp_path)() == [ModelConfig("m", tmp_path, Latest(1), {"stable": 3})]


def test_a_file_lists_models_and_where_they_are(tmp_path: Path) -> None:
    second = 'name: "n" base_path: "/elsewhere/n" model_platform: "tensorflow"'
    read = configs("unused", tmp_path, write(tmp_path / "any.name", HEAD, second))()
    assert [(config.name, config.folder) for config in read] == [
        ("m", Path("/models/m")),
        ("n", Path("/elsewhere/n")),
    ]


def test_it_is_read_anew_each_time(tmp_path: Path) -> None:
    source = configs("m", tmp_path)
    write(tmp_path / "models.config", f"{HEAD} model_version_policy {{ all {{ }} }}")
    assert source()[0].policy == All()
    (tmp_path / "models.config").write_text("}")
    with pytest.raises(UsageError):
        source()
    (tmp_path / "models.config").unlink()
    assert source()[0].policy == Latest(1)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model_config_list {", "is no models.config"),
        ("model_config_lists { }", "is no models.config"),
        ("", "lists no models"),
        ("\xff", "is no models.config"),
        (f"model_config_list {{ config {{ {HEAD} }} config {{ {HEAD} }} }}", "list model m multiple times"),
        (
            'model_config_list { config { name: "m" base_path: "m" model_platform: "tensorflow" } }',
            "Expected model m to have an absolute path; got base_path 'm'",
        ),
        (
            'model_config_list { config { name: "m" base_path: "gs://b/m" model_platform: "tensorflow" } }',
            "Expected model m to have an absolute path; got base_path 'gs://b/m'",
        ),
        ('model_config_list { config { name: "m" base_path: "/m" } }', "has the platform ''"),
    ],
)
def test_a_bad_file_is_refused_with_its_name_and_the_reason(text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(UsageError, match=why) as refused:
        configs("m", tmp_path, file)
    assert str(file) in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot be read \(No such file or directory\)"):
        configs("m", tmp_path, tmp_path / "nope")


def test_a_config_of_another_model_beside_the_versions_is_told(tmp_path: Path) -> None:
    write(tmp_path / "models.config", HEAD)
    with pytest.raises(UsageError, match="says nothing of the model cats, only of m"):
        configs("cats", tmp_path)
