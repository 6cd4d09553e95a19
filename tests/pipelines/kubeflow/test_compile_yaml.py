"""Texts in the compiled file stay texts for Go's YAML readers, which know other numbers than PyYAML."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from pipelines.settings.loading import load

DIGEST = "a" * 64
NUMBERS = (
    *("8e9", "1E10", "+1e3", "-1e3", "1.e3", ".5", "5.", "0o17", "-0o17", "0x1F", "0b1", "017", "1_000"),
    *("12", "0.5", "2026-01-01", "1:30", ".inf", "-.Inf", "+.INF", ".nan"),
)
WORDS = ("y", "N", "yes", "No", "on", "OFF", "true", "False", "null", "NULL", "~", "<<", "")
TEXTS = (
    "500m",
    "16Gi",
    "yesterday",
    "none",
    "--flag=1",
    "r.example/a@sha256:0",
    "{{$}}",
    "a: b",
    "# a",
    "e3",
)


class Go(yaml.SafeLoader):
    """Reads plain scalars as gopkg.in/yaml.v3 does, and the words of sigs.k8s.io/yaml, which knows more."""


Go.yaml_implicit_resolvers = {}
for tag, pattern in {
    "bool": r"y|n|yes|no|on|off|true|false",
    "null": r"~|null|",
    "int": r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-f_]+|[0-9][0-9_]*)",
    "float": r"[-+]?(\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)(e[-+]?[0-9]+)?|[-+]?\.inf|\.nan",
    "timestamp": r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}.*",
    "merge": r"<<",
}.items():
    Go.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z", re.I), None)


def plain(text: str) -> dict[str, set[str]]:
    """Returns the tags that Go gives to the scalars, by their texts."""
    nodes = [yaml.compose(text, Loader=Go)]
    found: dict[str, set[str]] = {}
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.ScalarNode):
            found.setdefault(node.value, set()).add(node.tag.rpartition(":")[2])
        elif node is not None:
            nodes += [one for item in node.value for one in (item if isinstance(item, tuple) else (item,))]
    return found


def dump(value: Any) -> str:
    from pipelines.kubeflow.compile import _Dumper

    return yaml.dump(value, Dumper=_Dumper)


@pytest.mark.parametrize("text", [*NUMBERS, *WORDS, *TEXTS])
def test_a_text_stays_a_text(text: str) -> None:
    written = dump({"value": text, text: 1})
    assert plain(written)[text] == {"str"}
    assert yaml.safe_load(written) == {"value": text, text: 1}


@pytest.mark.parametrize(("value", "tag"), [(8, "int"), (0.5, "float"), (True, "bool"), (1e16, "float")])
def test_a_number_stays_a_number(value: Any, tag: str) -> None:
    written = dump([value])
    assert list(plain(written).values()) == [{tag}]
    assert yaml.safe_load(written) == [value]


def test_ordinary_texts_are_not_quoted() -> None:
    assert dump(["StatisticsGen", "--flag=1"]) == "- StatisticsGen\n- --flag=1\n"


def test_pyyaml_alone_would_write_numbers() -> None:
    assert plain(yaml.safe_dump({"memory": "8e9"}))["8e9"] == {"float"}  # or this file tests nothing


def test_what_settings_may_hold_arrives_in_the_file_as_text() -> None:
    from pipelines.kubeflow.compile import compile_pipeline

    overrides = [
        f"kubeflow.images={{cpu: 'c@sha256:{DIGEST}', gpu: 'g@sha256:{DIGEST}'}}",
        "kubeflow.tasks.Trainer={memory_limit: '8e9', memory_request: '4e9', cpu_request: '2'}",
        "kubeflow.gpu.node_selector={pool: '1e3', '0o17': 'y'}",
        "kubeflow.shared_memory=null",
        "kubeflow.volumes=[{claim: 0o17, mount_path: /state}, {claim: 7e2, mount_path: /data}]",
    ]
    text = compile_pipeline(load("kubeflow", overrides))
    first, second = map(plain, text.split("\n---\n"))
    for tags, values in ((first, ("8e9", "4e9")), (second, ("1e3", "0o17", "y", "7e2"))):
        for value in values:
            assert tags[value] == {"str"}
