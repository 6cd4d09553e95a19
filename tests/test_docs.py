"""Checks the documentation against the code: commands, links and settings."""

from __future__ import annotations

import re
import shlex
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer.core
import typer.main
import yaml

from pipelines.cli import app
from pipelines.kubeflow import schedule
from pipelines.settings import loading
from pipelines.settings.quantities import parse_quantity

ROOT = Path(__file__).resolve().parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def code_in(page: Path) -> list[str]:
    """Returns the lines of fenced blocks and the inline code of a page, continued lines joined.

    Blocks of `text` show what is printed, and are left out.
    """
    text = page.read_text().replace("\\\n", " ")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    fences = [block for language, block in blocks if language != "text"]
    rest = re.sub(r"^```\w*\n.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    inline = [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", rest)]
    return [line.strip() for fence in fences for line in fence.splitlines()] + inline


def commands(name: str) -> list[pytest.ParameterSet]:
    """Returns the command lines in the docs that begin with a command's name."""
    found = {
        (page.relative_to(ROOT).as_posix(), code.removeprefix(".venv/bin/"))
        for page in PAGES
        for code in code_in(page)
        if re.match(rf"(\.venv/bin/)?{name} [a-z-]", code) and "…" not in code  # an error's text has that
    }
    return [pytest.param(code, id=f"{page}: {code}") for page, code in sorted(found)]


@cache
def nodes() -> set[str]:
    """Returns the ids of the pipeline's nodes."""
    from pipelines.pipeline import build  # imports TFX, which takes its time

    return {component.id for component in build(loading.load()).components}


def check_command(words: list[str]) -> None:
    """Parses a `catsdogs` command as the program would, and checks the names in its options."""
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    if words[0] == "--help":
        return
    assert words[0] in group.commands
    if len(words) == 1:  # its name alone, which need not be complete
        return
    given = group.commands[words[0]].make_context(words[0], words[1:]).params
    placeholders = ("NAME", "NAME|FILE", "my.yaml", "KEY=VALUE")
    if "config" in given and not any(placeholder in words for placeholder in placeholders):
        loading.load(given["config"], given["overrides"] or [])
    if given.get("schedule"):
        schedule.parse_cron(given["schedule"])
    for option in ("from_node", "to_node"):
        assert given.get(option) is None or given[option] in nodes()


@pytest.mark.parametrize("code", commands("catsdogs"))
def test_commands_exist_and_their_settings_are_valid(code: str) -> None:
    check_command(shlex.split(code, comments=True)[1:])


@pytest.mark.parametrize("code", commands("make"))
def test_make_targets_exist_and_their_arguments_are_valid(code: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    words = shlex.split(code, comments=True)[1:]
    assert {word for word in words if "=" not in word} <= targets
    if words[0] == "run":
        for word in words[1:]:
            check_command(["run", *shlex.split(word.removeprefix("ARGS="))])


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("catsdogs fly", "fly"),
        ("catsdogs run --fast", "No such option: --fast"),
        ("catsdogs run --config ful", "Did you mean 'full'"),
        ("catsdogs run --set data.sauce=folder", "Did you mean 'data.source'"),
        ("catsdogs run --from Trainr", "Trainr"),
        ("catsdogs submit pipeline.yaml --schedule '0 3 * * *'", "has five fields"),
    ],
)
def test_wrong_commands_are_noticed(wrong: str, complaint: str) -> None:
    with pytest.raises(Exception, match=complaint):
        check_command(shlex.split(wrong)[1:])


def page_about_kubeflow() -> str:
    return (ROOT / "docs/kubeflow.md").read_text()


@cache
def manifests() -> list[dict[str, Any]]:
    """Returns the YAML documents of the page about Kubeflow."""
    blocks = re.findall(r"^( *)```yaml\n(.*?)^ *```", page_about_kubeflow(), re.M | re.S)
    return [one for indent, block in blocks for one in yaml.safe_load_all(textwrap.dedent(block))]


def test_settings_for_kubeflow_are_valid(tmp_path: Path) -> None:
    fragments = [one for one in manifests() if {"beam", "kubeflow"} & one.keys()]
    assert len(fragments) >= 3
    for fragment in fragments:
        (tmp_path / "my.yaml").write_text(yaml.safe_dump(fragment))
        loading.load(str(tmp_path / "my.yaml"))


def test_the_values_for_a_small_cluster_compile(tmp_path: Path) -> None:
    from pipelines.kubeflow.checks import check_settings
    from pipelines.kubeflow.compile import compile_pipeline

    [values] = [one for one in manifests() if "output_root" in one]
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(values))
    images = [f"kubeflow.images.{kind}=catsdogs@sha256:{'0' * 64}" for kind in ("cpu", "gpu")]
    settings = loading.load(str(tmp_path / "small.yaml"), images)
    check_settings(settings)
    document = next(yaml.safe_load_all(compile_pipeline(settings)))
    containers = [one["container"] for one in document["deploymentSpec"]["executors"].values()]
    resources = [one["resources"] for one in containers]
    assert max(parse_quantity(one["resourceCpuRequest"]) for one in resources) == 1
    assert max(parse_quantity(one["resourceMemoryRequest"]) for one in resources) == 3 * 2**30


def test_the_cure_of_kfp_s_retries_removes_nothing_else() -> None:
    """The ConfigMap is that of KFP 2.17.0, in manifests/kustomize/third-party/argo/base."""
    ttl = {f"secondsAfter{end}": 3600 for end in ("Completion", "Success", "Failure")}
    retries = {"retryStrategy": {"limit": "2", "retryPolicy": "OnError"}}
    installed = {"spec": {"ttlStrategy": ttl, "templateDefaults": retries}}
    [patch] = re.findall(r"kubectl patch configmap.*--patch '\n(.*?)'", page_about_kubeflow(), re.DOTALL)
    cured = yaml.safe_load(yaml.safe_load(patch)["data"]["workflowDefaults"])
    del installed["spec"]["templateDefaults"]
    assert cured == installed


def test_manifests_for_kubernetes_fit_the_settings() -> None:
    volumes = {volume.claim: volume.mount_path for volume in loading.load("kubeflow").kubeflow.volumes}
    made = {one["metadata"]["name"] for one in manifests() if one.get("kind") == "PersistentVolumeClaim"}
    assert made == set(volumes)
    pods = [one["spec"] for one in manifests() if one.get("kind") == "Pod"]
    assert len(pods) == 2
    for pod in pods:
        claims = {one["name"]: one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"]}
        for mount in pod["containers"][0]["volumeMounts"]:
            assert mount["mountPath"] == volumes[claims[mount["name"]]]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        if "://" in link:
            continue
        target = (page.parent / path).resolve() if path else page
        if (
            not target.is_relative_to(ROOT)
            or not target.exists()
            or (anchor and anchor not in anchors(target))
        ):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_every_setting_is_described_with_its_default() -> None:
    rows = re.findall(
        r"^\| `([\w.]+)` \| `(.+?)` \| \S", (ROOT / "docs/settings.md").read_text(), re.MULTILINE
    )
    assert dict(leaves(loading.load())).keys() == {key for key, _ in rows}
    described = loading.load(overrides=[f"{key}={default}" for key, default in rows])
    assert dict(leaves(described)) == dict(leaves(loading.load()))


def leaves(section: object, prefix: str = "") -> Iterator[tuple[str, object]]:
    for name in type(section).model_fields:  # type: ignore[attr-defined]
        value = getattr(section, name)
        if hasattr(value, "model_fields"):
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def test_the_readme_describes_every_node() -> None:
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"\w+", row)} == nodes()


def test_the_faults_in_the_docs_are_those_that_are_tested() -> None:
    page = (ROOT / "docs" / "reliability.md").read_text()
    columns = re.findall(r"^\|.*\| ([^|]*) \|$", page, re.MULTILINE)
    names = {name for column in columns for name in re.findall(r"`(\w+)`", column)}
    files = (ROOT / "tests" / "faults").glob("test_*.py")
    tests = {
        test for file in files for test in re.findall(r"^def test_(\w+)", file.read_text(), re.MULTILINE)
    }
    assert [name for name in names if not any(name in test for test in tests)] == []
    assert [test for test in tests if not any(name in test for name in names)] == []
