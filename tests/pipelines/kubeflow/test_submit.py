from __future__ import annotations

import getpass
import hashlib
import json
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.errors import InputError, PipelineError
from pipelines.kubeflow import submit as submitting
from pipelines.settings.kubeflow import TASKS
from tests.pipelines.kubeflow import small_package
from tests.pipelines.kubeflow.kfp_server import KfpServer, Response

Submit = Callable[..., tuple[int, str]]

RUNS = "/apis/v2beta1/runs"
RECURRING = "/apis/v2beta1/recurringruns"
EXPERIMENTS = "/apis/v2beta1/experiments"
PIPELINES = "/apis/v2beta1/pipelines"
UPLOAD = "/apis/v2beta1/pipelines/upload_version"


def refused_here(submit: Submit, server: KfpServer, *named: str, **options: object) -> None:
    """Checks that bad usage is refused before anything is sent, and that the message names what is wrong."""
    sent = len(server.requests)
    with pytest.raises(InputError) as refused:
        submit(**options)
    for value in named:
        assert value in str(refused.value)
    assert len(server.requests) == sent


def test_the_file_arrives_as_it_is_and_a_run_of_it_is_made(
    submit: Submit, server: KfpServer, package: Path
) -> None:
    status, shown = submit()
    assert status == 0
    [upload], [run] = server.made(UPLOAD), server.made(RUNS)
    assert upload.body["uploadfile"]["content"] == package.read_bytes()
    version = f"sha256-{hashlib.sha256(package.read_bytes()).hexdigest()[:16]}"
    assert upload.query["name"] == version
    assert "catsdogs" in [pipeline["display_name"] for pipeline in server.pipelines]
    held = server.versions[0]["pipeline_spec"]
    assert held["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["Trainer_executor"]
    assert run.body["pipeline_version_reference"] == {
        "pipeline_id": server.pipelines[0]["pipeline_id"],
        "pipeline_version_id": server.versions[0]["pipeline_version_id"],
    }
    assert run.body["experiment_id"] == server.experiments[0]["experiment_id"]
    # The server itself never looks at the root in the file.
    assert run.body["runtime_config"] == {
        "pipeline_root": "minio://mlpipeline/v2/artifacts?endpoint=http://minio:9000",
        "parameters": {},
    }
    assert not {"pipeline_spec", "service_account"} & run.body.keys()
    assert "enable_cach" not in json.dumps(run.body)  # which steps are cached is the pipeline's to say
    assert re.fullmatch(r"catsdogs \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", run.body["display_name"])
    assert f"{server.endpoint}/#/runs/details/{server.runs[0]['run_id']}" in shown
    assert version in shown


def test_the_same_file_makes_no_second_version_and_a_changed_one_does(
    submit: Submit, server: KfpServer, package: Path
) -> None:
    submit()
    _, shown = submit()
    assert len(server.made(UPLOAD)) == len(server.versions) == 1
    assert server.versions[0]["display_name"] in shown
    assert len(server.runs) == 2
    package.write_text(package.read_text() + "\n# changed\n")
    submit()
    assert len(server.pipelines) == 1
    assert len(server.versions) == 2
    last = server.runs[-1]["pipeline_version_reference"]["pipeline_version_id"]
    assert last == server.versions[1]["pipeline_version_id"]


def test_parameters_arrive_with_the_types_that_the_pipeline_gives_them(
    submit: Submit, server: KfpServer
) -> None:
    submit(
        parameters=[
            'source={"kind": "folder", "folder": "/data/other"}',
            "max_rejected_fraction=0.05",
            "epochs=3",
            "augment=False",
            "layers=[1, 2]",
        ],
        run_name="by hand",
        pipeline_root="s3://bucket/root/?region=eu-west-1",
        service_account="trainer",
    )
    [run] = server.made(RUNS)
    assert run.body["runtime_config"] == {
        "pipeline_root": "s3://bucket/root?region=eu-west-1",
        "parameters": {
            # As compile writes it, so that the same source is the same to the caches.
            "source": '{"folder": "/data/other", "kind": "folder"}',
            "max_rejected_fraction": 0.05,
            "epochs": 3,
            "augment": False,
            "layers": [1, 2],
        },
    }
    assert run.body["display_name"] == "by hand"
    assert run.body["service_account"] == "trainer"


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("epochs", "epochs"),
        ("max_bad_fracton=0.1", "'max_rejected_fraction'"),
        ("zzz=1", "epochs"),
        ("max_rejected_fraction=much", "number"),
        ("max_rejected_fraction=nan", "number"),
        ("max_rejected_fraction=2", "2"),
        ("max_rejected_fraction=-1e-3", "-0.001"),
        ("epochs=1.5", "integer"),
        ("augment=maybe", "boolean"),
        ("override= ", "override"),
        ("source=/data", "JSON"),
        ('source={"kind": ["folder"]}', "folder"),
        ('source={"kind": "foldr"}', "'folder'"),
        ('source={"kind": "cloud"}', "tfds"),
        ('source={"kind": "sample", "cuont": 3}', "'sample.count'"),
        ('source={"kind": "tfds", "name": "x"}', "name"),
        ('source={"kind": "folder", "folder": "/data", "max_pixels": 3}', "'max_pixels'"),
        ('source={"kind": "sample", "count": 0}', "sample.count"),
        ('source={"kind": "folder"}', "folder"),
        ('source={"kind": "folder", "folder": "/elsewhere"}', "/elsewhere"),
        ('source={"kind": "folder", "folder": "/database"}', "/database"),
        ('source={"kind": "folder", "folder": "/data/../elsewhere"}', "/elsewhere"),
        ('source={"kind": "tfds"}', "/data"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_is_sent(
    submit: Submit, server: KfpServer, text: str, named: str
) -> None:
    refused_here(submit, server, named, parameters=[text])


def test_a_parameter_may_be_given_once(submit: Submit, server: KfpServer) -> None:
    refused_here(submit, server, "epochs", parameters=["epochs=1", "epochs=2"])


@pytest.mark.parametrize(
    ("given", "sent"),
    [
        ('{"kind": "folder", "folder": "/data"}', '{"folder": "/data", "kind": "folder"}'),
        ('{"kind": "sample"}', '{"count": 1000, "kind": "sample", "seed": 0}'),
        (
            '{"kind": "tfds", "data_dir": "/state/tfds", "download": false}',
            '{"builder": "cats_vs_dogs", "data_dir": "/state/tfds", "download": false, "kind": "tfds"}',
        ),
    ],
)
def test_sources_are_sent_in_full(submit: Submit, server: KfpServer, given: str, sent: str) -> None:
    submit(parameters=[f"source={given}"])
    assert server.runs[0]["runtime_config"]["parameters"] == {"source": sent}


TASKS_IN_A_CIRCLE = {"A": {"dependentTasks": ["B"]}, "B": {"dependentTasks": ["A"]}}


@pytest.mark.parametrize(
    "content",
    [
        "a: [1",
        "- a\n- b",
        "",
        {"platform": False},
        {"schemaVersion": "2.0.0"},
        {"root": {"dag": {}}},
        {"root": {"dag": {"tasks": TASKS_IN_A_CIRCLE}}},
        None,
    ],
)
def test_a_file_that_is_no_compiled_pipeline_is_refused(
    submit: Submit, server: KfpServer, tmp_path: Path, content: str | dict[str, Any] | None
) -> None:
    file = tmp_path / "other.yaml"
    if isinstance(content, str):
        file.write_text(content)
    elif content:
        small_package.write(file, **content)
    refused_here(submit, server, str(file), file=file)


def test_a_file_whose_name_kfp_does_not_take(submit: Submit, server: KfpServer, tmp_path: Path) -> None:
    file = small_package.write(tmp_path / "pipeline.txt")
    refused_here(submit, server, str(file), file=file, no_cache=True)


@pytest.mark.parametrize("root", ["/data/root", "s3://My_Bucket", "s3://bucket/a?disableSSL=true"])
def test_a_wrong_pipeline_root_is_refused(
    submit: Submit, server: KfpServer, tmp_path: Path, root: str
) -> None:
    refused_here(submit, server, root, pipeline_root=root)
    old = small_package.write(tmp_path / "old.yaml", defaultPipelineRoot=root)
    refused_here(submit, server, root, file=old)


def test_a_pipeline_root_must_come_from_somewhere(submit: Submit, tmp_path: Path, server: KfpServer) -> None:
    bare = small_package.write(tmp_path / "bare.yaml", defaultPipelineRoot="")
    refused_here(submit, server, "--pipeline-root", file=bare)
    submit(file=bare, pipeline_root="gs://my_bucket")
    assert server.made(RUNS)[0].body["runtime_config"]["pipeline_root"] == "gs://my_bucket"


@pytest.mark.parametrize(
    "name",
    [
        *("endpoint", "token", "cookies", "experiment", "run_name", "pipeline_root"),
        *("schedule", "namespace", "service_account"),
    ],
)
def test_an_empty_option_is_refused_and_not_taken_for_none(
    submit: Submit, server: KfpServer, name: str
) -> None:
    for text in ("", "  "):
        refused_here(submit, server, f"--{name.replace('_', '-')} ", **{name: text})


def test_without_cache_no_task_is_cached(submit: Submit, server: KfpServer) -> None:
    submit(no_cache=True, parameters=["epochs=4"])
    [run] = server.made(RUNS)
    spec = run.body["pipeline_spec"]["pipeline_spec"]
    for task in spec["root"]["dag"]["tasks"].values():
        assert task.get("cachingOptions", {}).get("enableCache", False) is False
    assert run.body["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]
    assert run.body["runtime_config"]["parameters"] == {"epochs": 4}
    assert "pipeline_version_reference" not in run.body
    assert server.made(UPLOAD) == []


def test_an_override_is_sent_with_who_gives_it_and_when(submit: Submit, server: KfpServer) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    submit(parameters=["override= Grün, und der alte = kaputt "])
    sent = json.loads(server.runs[0]["runtime_config"]["parameters"]["override"])
    at = datetime.fromisoformat(sent.pop("at"))
    assert before <= at <= datetime.now(UTC)
    assert sent == {"reason": "Grün, und der alte = kaputt", "by": getpass.getuser()}


@pytest.mark.parametrize(
    "options",
    [{"schedule": "0 0 3 * * *"}, {"no_cache": True}, {"parameters": ["max_rejected_fraction=0.5"]}],
)
def test_an_override_is_for_a_model_that_is_there(
    submit: Submit, server: KfpServer, options: dict[str, Any]
) -> None:
    parameters = ["override=good enough", *options.get("parameters", [])]
    refused_here(submit, server, "override", **options | {"parameters": parameters})


# Experiments and namespaces


def test_the_default_experiment_is_made_if_need_be(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.experiments.clear()
    submit()
    assert [one["display_name"] for one in server.experiments] == ["Default"]
    monkeypatch.setenv(submitting.DEFAULT_EXPERIMENT, "team")
    submit()
    assert [one["display_name"] for one in server.experiments] == ["Default", "team"]
    assert server.runs[-1]["experiment_id"] == server.experiments[1]["experiment_id"]


def test_a_named_experiment_must_be_there(submit: Submit, server: KfpServer) -> None:
    server.add_experiment("backbones")
    submit(experiment="backbones")
    assert server.runs[0]["experiment_id"] == server.experiments[1]["experiment_id"]
    with pytest.raises(InputError, match=r"'backbone'.*'backbones'.*--create-experiment"):
        submit(experiment="backbone")
    assert len(server.runs) == 1
    submit(experiment="backbone", create_experiment=True)
    assert server.experiments[2]["display_name"] == "backbone"
    assert server.runs[1]["experiment_id"] == server.experiments[2]["experiment_id"]
    server.experiments.clear()
    with pytest.raises(InputError, match="'backbone'.*--create-experiment"):
        submit(experiment="backbone")


def test_an_archived_experiment_is_refused(submit: Submit, server: KfpServer) -> None:
    server.add_experiment("old", state="ARCHIVED")
    with pytest.raises(InputError, match="'old'"):
        submit(experiment="old")
    assert server.runs == []


def test_a_namespace_goes_with_everything_that_has_one(
    submit: Submit, server: KfpServer, tmp_path: Path
) -> None:
    server.multi_user = True
    with pytest.raises(PipelineError, match="namespace"):
        submit()
    sent = len(server.requests)
    submit(namespace="team-a")
    submit(namespace="team-a")
    assert [one["namespace"] for one in server.pipelines] == ["team-a"]
    assert server.experiments[-1]["namespace"] == "team-a"
    listings = [one for one in server.requests[sent:] if one.path in {PIPELINES, EXPERIMENTS}]
    assert {one.query["namespace"] for one in listings if one.method == "GET"} == {"team-a"}
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_text('{"namespace": "from-context"}')
    submit()
    assert server.experiments[-1]["namespace"] == "from-context"
    assert server.pipelines[-1]["namespace"] == "from-context"


def test_a_namespace_that_has_no_effect_is_refused(submit: Submit, server: KfpServer) -> None:
    """A server for a single user ignores it."""
    with pytest.raises(InputError, match="team-a"):
        submit(namespace="team-a")
    assert server.runs == []
    submit()
    assert len(server.runs) == 1


# Schedules


def test_a_schedule_is_created_and_read_back(submit: Submit, server: KfpServer) -> None:
    status, shown = submit(schedule=" 0 0  3 * * MON", parameters=["epochs=5"])
    assert status == 0
    [recurring] = server.made(RECURRING)
    assert recurring.body["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * MON"}}
    assert recurring.body["mode"] == "ENABLE"
    assert recurring.body["no_catchup"] is True
    assert recurring.body["max_concurrency"] == 1
    assert recurring.body["display_name"] == "catsdogs"
    assert recurring.body["experiment_id"] == server.experiments[0]["experiment_id"]
    assert recurring.body["runtime_config"]["parameters"] == {"epochs": 5}
    assert recurring.body["runtime_config"]["pipeline_root"].startswith("minio://")
    version = server.versions[0]["pipeline_version_id"]
    assert recurring.body["pipeline_version_reference"]["pipeline_version_id"] == version
    assert server.made(RUNS) == []
    assert "0 0 3 * * MON" in shown
    assert f"/#/recurringrun/details/{server.recurring[0]['recurring_run_id']}" in shown


def test_the_same_schedule_again_changes_nothing(submit: Submit, server: KfpServer) -> None:
    submit(schedule="@daily", parameters=["epochs=5"])
    submit(schedule="@daily", parameters=["epochs=5"])
    assert [one["status"] for one in server.recurring] == ["ENABLED"]


def test_another_schedule_of_that_name_replaces_it_and_prints_how_to_restore_it(
    submit: Submit, server: KfpServer
) -> None:
    submit(schedule="0 0 3 * * *")
    submit(schedule="0 0 4 * * *", run_name="another name")
    _, shown = submit(schedule="0 0 5 * * *")
    first, other, last = server.recurring
    assert [first["status"], other["status"], last["status"]] == ["DISABLED", "ENABLED", "ENABLED"]
    created = next(i for i, one in enumerate(server.requests) if one.body and "0 0 5" in str(one.body))
    disabled = next(i for i, one in enumerate(server.requests) if one.path.endswith(":disable"))
    assert created < disabled
    assert "0 0 3 * * *" in shown
    assert f"kfp recurring-run enable {first['recurring_run_id']}" in shown


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": ["epochs=9"]},
        {"pipeline_root": "gs://bucket"},
        {"service_account": "other"},
        {"experiment": "another", "create_experiment": True},
        {"file": {"sdkVersion": "tfx-1.21.1"}},
    ],
)
def test_a_schedule_that_differs_in_anything_is_another(
    submit: Submit, server: KfpServer, tmp_path: Path, change: dict[str, Any]
) -> None:
    submit(schedule="@daily")
    if "file" in change:
        change = {"file": small_package.write(tmp_path / "new.yaml", **change["file"])}
    submit(schedule="@daily", **change)
    assert [one["status"] for one in server.recurring] == ["DISABLED", "ENABLED"]


def test_schedules_of_other_pipelines_and_namespaces_stay(
    submit: Submit, server: KfpServer, tmp_path: Path
) -> None:
    submit(schedule="@daily", run_name="nightly")
    other = small_package.write(tmp_path / "other.yaml", pipelineInfo={"name": "other"})
    submit(schedule="@hourly", run_name="nightly", file=other)
    assert [one["status"] for one in server.recurring] == ["ENABLED", "ENABLED"]
    server.recurring.clear()
    server.multi_user = True
    for namespace in ("team-a", "team-b", "team-a"):
        submit(schedule="@daily", namespace=namespace, service_account=f"of-{len(server.recurring)}")
    assert [one["status"] for one in server.recurring] == ["DISABLED", "ENABLED", "ENABLED"]


def test_a_schedule_is_found_behind_pages_of_old_ones(submit: Submit, server: KfpServer) -> None:
    submit(schedule="@daily")
    first = server.recurring[0]
    server.recurring[:0] = [
        first | {"recurring_run_id": f"old-{number}", "status": "DISABLED"} for number in range(201)
    ]
    submit(schedule="@hourly")
    assert first["status"] == "DISABLED"
    assert [one["status"] for one in server.recurring].count("ENABLED") == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (
            {"schedule": "0 3 * * *"},
            "'0 0 3 * * *'",
        ),  # which the server would take for minute 3 of every hour
        ({"schedule": "0 3 * *"}, "0 3 * *"),
        ({"schedule": "0 0 3 * * * 2027"}, "7"),
        ({"schedule": "* 0 3 * * *"}, "* 0 3 * * *"),
        ({"schedule": "@daily", "wait": True}, "--wait"),
        ({"schedule": "@daily", "no_cache": True}, "--no-cache"),
    ],
)
def test_what_does_not_fit_a_schedule_is_refused_before_anything_is_sent(
    submit: Submit, server: KfpServer, options: dict[str, object], named: str
) -> None:
    refused_here(submit, server, named, **options)


# What the server refuses


def test_the_server_s_own_words_about_a_refused_pipeline(
    submit: Submit, server: KfpServer, tmp_path: Path
) -> None:
    odd = small_package.write(tmp_path / "odd.yaml", nonsense={"a": 1})
    with pytest.raises(PipelineError, match="400.*nonsense") as refused:
        submit(file=odd)
    assert refused.value.exit_status == 1
    assert "\n" not in str(refused.value)
    assert server.runs == []


def test_a_refused_run(submit: Submit, server: KfpServer) -> None:
    message = "Failed to create a run: Internal Server Error"
    server.faults = [("POST /apis/v2beta1/runs", Response(500, {"code": 13, "message": message}), 1)]
    with pytest.raises(PipelineError, match=f"500.*{message}"):
        submit()
    submit()
    assert len(server.runs) == len(server.versions) == 1  # trying again finds what was uploaded


@pytest.mark.slow
def test_the_real_pipeline_is_taken_with_its_parameters(
    submit: Submit, server: KfpServer, tmp_path: Path
) -> None:
    file = tmp_path / "real.yaml"
    digest = "@sha256:" + 64 * "a"
    ended = subprocess.run(
        [
            *(sys.executable, "-m", "pipelines.cli", "compile", "--output", file),
            *("--set", f"kubeflow.images.cpu=example.com/cpu{digest}"),
            *("--set", f"kubeflow.images.gpu=example.com/gpu{digest}"),
        ],
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    _, shown = submit(
        file=file,
        parameters=[
            'source={"kind": "sample", "seed": 3, "count": 200}',
            "max_rejected_fraction=0.5",
            "max_class_shift=0.25",
        ],
        wait=True,
    )
    sent = server.made(RUNS)[0].body["runtime_config"]
    assert (
        sent["pipeline_root"] == yaml.safe_load(file.read_text().split("\n---\n")[0])["defaultPipelineRoot"]
    )
    assert sent["parameters"] == {
        "source": '{"count": 200, "kind": "sample", "seed": 3}',
        "max_rejected_fraction": 0.5,
        "max_class_shift": 0.25,
    }
    assert len(re.findall(r"\] \w+: ", shown)) == len(TASKS)
