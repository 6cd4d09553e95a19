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
from pipelines.kubeflow.settings import LOOKS, STEPS
from tests.pipelines.kubeflow import small_package
from tests.pipelines.kubeflow.kfp_server import Answer, KfpServer

Submit = Callable[..., tuple[int, str]]

RUNS = "/apis/v2beta1/runs"
RECURRING = "/apis/v2beta1/recurringruns"
EXPERIMENTS = "/apis/v2beta1/experiments"
PIPELINES = "/apis/v2beta1/pipelines"
UPLOAD = "/apis/v2beta1/pipelines/upload_version"


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
    assert "pipeline_spec" not in run.body
    assert "service_account" not in run.body
    assert re.fullmatch(r"catsdogs \d{4}-\d\d-\d\d \d\d:\d\d:\d\d", run.body["display_name"])
    run_id = server.runs[0]["run_id"]
    assert run_id in shown
    assert f"{server.endpoint}/#/runs/details/{run_id}" in shown
    assert version in shown


def test_the_same_file_makes_no_second_version_and_a_changed_one_does(
    submit: Submit, server: KfpServer, package: Path
) -> None:
    submit()
    _, shown = submit()
    assert len(server.made(UPLOAD)) == len(server.versions) == 1
    assert f"has this file as its version {server.versions[0]['display_name']}" in shown
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
            "max_bad_fraction=0.05",
            "epochs=3",
            "augment=False",
            "layers=[1, 2]",
            "reuse=false",
        ],
        name="by hand",
        pipeline_root="s3://bucket/root/?region=eu-west-1",
        service_account="trainer",
    )
    [run] = server.made(RUNS)
    assert run.body["runtime_config"] == {
        "pipeline_root": "s3://bucket/root?region=eu-west-1",
        "parameters": {
            # As compile writes it, so that the same source is the same to the caches.
            "source": '{"folder": "/data/other", "kind": "folder"}',
            "max_bad_fraction": 0.05,
            "epochs": 3,
            "augment": False,
            "layers": [1, 2],
            "reuse": "false",
        },
    }
    assert run.body["display_name"] == "by hand"
    assert run.body["service_account"] == "trainer"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("epochs", "--param 'epochs' must be NAME=VALUE"),
        ("=3", "--param '=3' must be NAME=VALUE"),
        (
            "max_bad_fracton=0.1",
            "The pipeline has no parameter 'max_bad_fracton'. Did you mean 'max_bad_fraction'?",
        ),
        ("zzz=1", "The pipeline has no parameter 'zzz'. Valid are: "),
        ("max_bad_fraction=much", "--param max_bad_fraction=much: it must be a number."),
        ("max_bad_fraction=nan", "--param max_bad_fraction=nan: it must be a number."),
        ("max_bad_fraction=2", "--param max_bad_fraction=2: it must be a share from 0 to 1, such as 0.05."),
        ("max_bad_fraction=-1e-3", "--param max_bad_fraction=-1e-3: it must be a share from 0 to 1"),
        ("epochs=1.5", "--param epochs=1.5: it must be a whole number."),
        ("augment=maybe", "--param augment=maybe: it must be true or false."),
        ("layers={}", "--param layers={}: it must be a JSON list."),
        ("layers=[", "--param layers=[: it must be a JSON list."),
        ("override= ", "--param override= : it must say why the model is to be blessed all the same."),
        ("reuse=no", "--param reuse=no: it must be true or false."),
        ("source=/data", "--param source=/data: it must be JSON such as"),
        ('source={"folder": "/data"}', "it must be JSON such as"),
        ('source={"kind": ["folder"]}', "it must be JSON such as"),
        ('source={"kind": "foldr"}', "there is no kind 'foldr'. Did you mean 'folder'?"),
        ('source={"kind": "cloud"}', "there is no kind 'cloud'. Valid are: folder, sample, tfds."),
        (
            'source={"kind": "sample", "cuont": 3}',
            "a source of the kind sample has no 'cuont'. Did you mean 'count'?",
        ),
        (
            'source={"kind": "tfds", "name": "x"}',
            "a source of the kind tfds has no 'name'. Valid are: builder, data_dir, download.",
        ),
        (
            'source={"kind": "folder", "folder": "/data", "max_pixels": 3}',
            "a source of the kind folder has no 'max_pixels'. Valid are: folder.",
        ),
        ('source={"kind": "sample", "count": 0}', "The setting sample.count is 0: it must be greater than"),
        ('source={"kind": "folder"}', 'it names no folder; add one, as in "folder": "/data".'),
        ('source={"kind": "folder", "folder": null}', "it names no folder"),
        ('source={"kind": "folder", "folder": 3}', "The setting folder is 3: it must be a path."),
        (
            'source={"kind": "folder", "folder": "pictures"}',
            "folder is pictures, which is on no volume of the pipeline: name a folder below one of them "
            "(mounted are: /data, /state).",
        ),
        ('source={"kind": "folder", "folder": ""}', "folder is ., which is on no volume"),
        ('source={"kind": "folder", "folder": "/database"}', "folder is /database, which is on no volume"),
        ('source={"kind": "folder", "folder": "/data/../etc"}', "folder is /data/../etc, which is on no"),
        ('source={"kind": "tfds", "builder": "x"}', "data_dir is None, which is on no volume"),
        ('source={"kind": "tfds", "data_dir": "/home/me"}', "data_dir is /home/me, which is on no volume"),
    ],
)
def test_a_wrong_parameter_is_told_before_anything_is_sent(
    submit: Submit, server: KfpServer, text: str, sentence: str
) -> None:
    with pytest.raises(InputError) as refused:
        submit(parameters=[text])
    assert sentence in str(refused.value)
    assert server.requests == []


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
def test_sources_that_the_steps_can_reach(submit: Submit, server: KfpServer, given: str, sent: str) -> None:
    submit(parameters=[f"source={given}"])
    assert server.runs[0]["runtime_config"]["parameters"] == {"source": sent}


def test_a_volume_of_some_steps_only_is_none_of_the_pipeline(
    submit: Submit, server: KfpServer, package: Path
) -> None:
    spec, platform = yaml.safe_load_all(package.read_text())
    executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    del executors["Trainer_executor"]["pvcMount"][1]
    package.write_text(yaml.safe_dump_all([spec, platform]))
    with pytest.raises(InputError, match=r"mounted are: /state"):
        submit(parameters=['source={"kind": "folder", "folder": "/data"}'])
    del executors["Trainer_executor"]["pvcMount"]
    package.write_text(yaml.safe_dump_all([spec, platform]))
    with pytest.raises(InputError, match=r"mounted are: none"):
        submit(parameters=['source={"kind": "folder", "folder": "/data"}'])
    submit(parameters=['source={"kind": "sample"}'])
    assert len(server.runs) == 1


def test_a_parameter_may_be_given_once(submit: Submit) -> None:
    with pytest.raises(InputError, match="--param epochs is given twice"):
        submit(parameters=["epochs=1", "epochs=2"])


def _one_document(path: Path) -> Path:
    return small_package.write(path, platform=False)


def _old_schema(path: Path) -> Path:
    return small_package.write(path, schemaVersion="2.0.0")


def _no_tasks(path: Path) -> Path:
    return small_package.write(path, root={"dag": {}})


def _circle(path: Path) -> Path:
    tasks = {"A": {"dependentTasks": ["B"]}, "B": {"dependentTasks": ["A"]}}
    return small_package.write(path, root={"dag": {"tasks": tasks}})


def _text(content: str) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_text(content)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("pipeline.json", _text("{}"), "must end in .yaml"),
        ("missing.yaml", lambda path: path, "does not exist: make it with catsdogs compile --output"),
        ("p.yaml", _text("a: [1"), "is not YAML"),
        ("p.yaml", _text("- a\n- b"), "holds no compiled pipeline"),
        (
            "p.yaml",
            _text(""),
            "must hold two documents, a pipeline and its Kubernetes settings, and holds 0 and 0",
        ),
        ("p.yaml", _one_document, "and holds 1 and 0 of them"),
        ("p.yaml", _old_schema, "has schema version 2.0.0, and Kubeflow Pipelines takes 2.1.0 only"),
        ("p.yaml", _no_tasks, "holds no compiled pipeline"),
        ("p.yaml", _circle, "holds no compiled pipeline"),
        ("folder.yaml", lambda path: path.mkdir() or path, "cannot be read"),
    ],
)
def test_a_wrong_file_is_told_before_anything_is_sent(
    submit: Submit,
    server: KfpServer,
    tmp_path: Path,
    name: str,
    write: Callable[[Path], Path],
    sentence: str,
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    with pytest.raises(InputError) as refused:
        submit(file=write(files / name))
    assert sentence in str(refused.value)
    assert server.requests == []


@pytest.mark.parametrize(
    ("root", "sentence"),
    [
        ("/data/root", "The pipeline root '/data/root' is not a place that KFP can write to: it must be"),
        ("gs://", "is not a place that KFP can write to"),
        ("s3://My_Bucket", "The pipeline root 's3://My_Bucket' has 'My_Bucket' as its bucket"),
        ("s3://bucket/a?s3ForcePathStyle=true", "has 's3ForcePathStyle=true' in its query"),
    ],
)
def test_a_wrong_pipeline_root_is_told(submit: Submit, server: KfpServer, root: str, sentence: str) -> None:
    with pytest.raises(InputError) as refused:
        submit(pipeline_root=root)
    assert sentence in str(refused.value)
    assert server.requests == []


def test_a_file_with_a_wrong_pipeline_root_is_told(submit: Submit, server: KfpServer, tmp_path: Path) -> None:
    old = small_package.write(tmp_path / "old.yaml", defaultPipelineRoot="s3://b-1/a?disableSSL=true")
    with pytest.raises(InputError, match="has 'disableSSL=true' in its query"):
        submit(file=old)
    assert server.requests == []


@pytest.mark.parametrize("text", ["", "  "])
@pytest.mark.parametrize(
    ("option", "field"),
    [
        ("--endpoint", "endpoint"),
        ("--token", "token"),
        ("--cookies", "cookies"),
        ("--experiment", "experiment"),
        ("--run-name", "name"),
        ("--pipeline-root", "pipeline_root"),
        ("--schedule", "cron"),
        ("--namespace", "namespace"),
        ("--service-account", "service_account"),
    ],
)
def test_an_empty_option_is_refused_and_not_taken_for_none(
    submit: Submit, server: KfpServer, option: str, field: str, text: str
) -> None:
    with pytest.raises(InputError) as refused:
        submit(**{field: text})
    assert str(refused.value) == f"{option} is empty: give it a value, or leave the option out."
    assert server.requests == []


def test_a_pipeline_root_must_come_from_somewhere(submit: Submit, tmp_path: Path, server: KfpServer) -> None:
    bare = tmp_path / "bare.yaml"
    documents = list(yaml.safe_load_all(small_package.write(bare).read_text()))
    del documents[0]["defaultPipelineRoot"]
    bare.write_text(yaml.safe_dump_all(documents))
    with pytest.raises(InputError, match="names no pipeline root: give --pipeline-root"):
        submit(file=bare)
    submit(file=bare, pipeline_root="gs://my_bucket")
    assert server.made(RUNS)[0].body["runtime_config"]["pipeline_root"] == "gs://my_bucket"


def test_without_cache_every_task_s_caching_is_off_and_nothing_is_reused(
    submit: Submit, server: KfpServer
) -> None:
    submit(no_cache=True, parameters=["epochs=4"])
    [run] = server.made(RUNS)
    spec = run.body["pipeline_spec"]["pipeline_spec"]
    for task in spec["root"]["dag"]["tasks"].values():
        assert task.get("cachingOptions", {}).get("enableCache", False) is False
    assert run.body["pipeline_spec"]["platform_spec"]["platforms"]["kubernetes"]
    assert run.body["runtime_config"]["parameters"] == {"epochs": 4, "reuse": "false"}
    assert "pipeline_version_reference" not in run.body
    assert server.made(UPLOAD) == []


def test_without_cache_and_with_reuse_is_a_contradiction(submit: Submit, server: KfpServer) -> None:
    with pytest.raises(
        InputError, match="--no-cache takes nothing from earlier runs, and --param reuse=true"
    ):
        submit(no_cache=True, parameters=["reuse=true"])
    assert server.requests == []
    submit(no_cache=True, parameters=["reuse=false"])
    submit(parameters=["reuse=true"])
    sent = [run.body["runtime_config"]["parameters"] for run in server.made(RUNS)]
    assert sent == [{"reuse": "false"}, {"reuse": "true"}]


def test_an_override_is_sent_with_who_gives_it_and_when(submit: Submit, server: KfpServer) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    submit(parameters=["override= Grün, und der alte = kaputt "])
    sent = json.loads(server.runs[0]["runtime_config"]["parameters"]["override"])
    at = datetime.fromisoformat(sent.pop("at"))
    assert before <= at <= datetime.now(UTC)
    assert sent == {"reason": "Grün, und der alte = kaputt", "by": getpass.getuser()}


def test_nobody_overrides_without_a_name(
    submit: Submit, server: KfpServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_name() -> str:
        raise KeyError("getpwuid(): uid not found: 1000770000")

    monkeypatch.setattr("getpass.getuser", no_name)
    with pytest.raises(InputError, match="say who decides: LOGNAME=NAME catsdogs submit"):
        submit(parameters=["override=good enough"])
    assert server.requests == []


def test_an_override_may_take_what_is_finished(submit: Submit, server: KfpServer) -> None:
    submit(parameters=["override=good enough", "reuse=true"])
    assert server.runs[0]["runtime_config"]["parameters"]["reuse"] == "true"


@pytest.mark.parametrize(
    ("how", "option"),
    [
        ({"cron": "0 0 3 * * *"}, "--schedule"),
        ({"no_cache": True}, "--no-cache"),
        ({"parameters": ["reuse=false"]}, "--param reuse"),
        ({"parameters": ["max_bad_fraction=0.5"]}, "--param max_bad_fraction"),
        ({"parameters": ["reuse=true", 'source={"kind": "sample", "count": 200}']}, "--param source"),
    ],
)
def test_an_override_is_for_a_model_that_is_there(
    submit: Submit, server: KfpServer, how: dict[str, Any], option: str
) -> None:
    with pytest.raises(InputError) as refused:
        submit(**{**how, "parameters": ["override=good enough", *how.get("parameters", [])]})
    assert str(refused.value) == (
        f"--param override is for the model of a run that somebody has looked at, and {option} makes others: "
        "leave one of them out."
    )
    assert server.requests == []


def test_caching_is_never_switched_on_for_steps_that_must_look(submit: Submit, server: KfpServer) -> None:
    submit()
    [version] = server.versions
    tasks = version["pipeline_spec"]["pipeline_spec"]["root"]["dag"]["tasks"]
    assert tasks["Trainer"]["cachingOptions"] == {"enableCache": True}
    assert "cachingOptions" not in tasks["ImageExampleGen"]
    assert "enable_caching" not in json.dumps(server.made(RUNS)[0].body)
    assert "enableCach" not in json.dumps(server.made(RUNS)[0].body)


# Experiments


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
    with pytest.raises(InputError) as refused:
        submit(experiment="backbone")
    assert str(refused.value) == (
        "There is no experiment 'backbone'. Did you mean 'backbones'? To make it, add --create-experiment."
    )
    assert len(server.runs) == 1
    submit(experiment="backbone", create_experiment=True)
    assert server.experiments[2]["display_name"] == "backbone"
    assert server.runs[1]["experiment_id"] == server.experiments[2]["experiment_id"]


def test_an_unknown_experiment_where_there_is_none(submit: Submit, server: KfpServer) -> None:
    server.experiments.clear()
    with pytest.raises(InputError, match="There is no experiment 'x'. To make it, add --create-experiment."):
        submit(experiment="x")


def test_an_archived_experiment_is_told(submit: Submit, server: KfpServer) -> None:
    server.add_experiment("old", state="ARCHIVED")
    with pytest.raises(InputError, match="The experiment 'old' is archived"):
        submit(experiment="old")
    assert server.runs == []


def test_a_namespace_goes_with_everything_that_has_one(submit: Submit, server: KfpServer) -> None:
    server.multi_user = True
    with pytest.raises(InputError, match="serves many users: name your namespace with --namespace"):
        submit()
    submit(namespace="team-a")
    assert server.experiments[-1]["namespace"] == "team-a"
    assert server.pipelines[-1]["namespace"] == "team-a"
    submit(namespace="team-a")
    assert len(server.pipelines) == 1
    listings = [
        one for one in server.requests if one.method == "GET" and one.path in {PIPELINES, EXPERIMENTS}
    ]
    assert {one.query["namespace"] for one in listings[1:]} == {"team-a"}


def test_the_namespace_of_kfp_s_context_is_used(submit: Submit, server: KfpServer, tmp_path: Path) -> None:
    server.multi_user = True
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "context.json").write_text('{"namespace": "from-context"}')
    submit()
    assert server.experiments[-1]["namespace"] == "from-context"
    assert server.pipelines[-1]["namespace"] == "from-context"


# Schedules


def test_a_schedule_is_created_and_read_back(submit: Submit, server: KfpServer) -> None:
    status, shown = submit(cron="0 0 3 * * MON", parameters=["epochs=5"])
    assert status == 0
    [recurring] = server.made(RECURRING)
    assert recurring.body["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * 1"}}
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
    assert (
        "At 03:00 on Monday (UTC, unless the cluster's CRON_SCHEDULE_TIMEZONE says otherwise); next: Mon "
        in shown
    )
    assert f"/#/recurringrun/details/{server.recurring[0]['recurring_run_id']}" in shown


def test_the_same_schedule_again_changes_nothing(submit: Submit, server: KfpServer) -> None:
    submit(cron="@daily")
    _, shown = submit(cron="0 0 0 * * *")
    assert len(server.recurring) == 1
    assert "is there already, and stays" in shown


def test_another_schedule_of_that_name_takes_its_place_and_says_how_to_go_back(
    submit: Submit, server: KfpServer
) -> None:
    submit(cron="0 0 3 * * *")
    submit(cron="0 0 4 * * *", name="another name")
    _, shown = submit(cron="0 0 5 * * *")
    first, other, last = server.recurring
    assert [first["status"], other["status"], last["status"]] == ["DISABLED", "ENABLED", "ENABLED"]
    created = next(i for i, one in enumerate(server.requests) if one.body and "0 0 5" in str(one.body))
    disabled = next(i for i, one in enumerate(server.requests) if one.path.endswith(":disable"))
    assert created < disabled
    assert f"It takes the place of {first['recurring_run_id']} (0 0 3 * * *), which is disabled now" in shown
    assert f"kfp recurring-run enable {first['recurring_run_id']}" in shown


@pytest.mark.parametrize(
    "change",
    [
        {"parameters": ["epochs=9"]},
        {"pipeline_root": "gs://bucket"},
        {"service_account": "other"},
        {"experiment": "another", "create_experiment": True},
    ],
)
def test_a_schedule_that_differs_in_anything_is_another(
    submit: Submit, server: KfpServer, change: dict[str, object]
) -> None:
    submit(cron="@daily")
    submit(cron="@daily", **change)
    assert [one["status"] for one in server.recurring] == ["DISABLED", "ENABLED"]


def test_a_schedule_of_that_name_and_another_pipeline_stays(
    submit: Submit, server: KfpServer, tmp_path: Path
) -> None:
    submit(cron="@daily", name="nightly")
    other = small_package.write(tmp_path / "other.yaml", pipelineInfo={"name": "other"})
    submit(cron="@hourly", name="nightly", file=other)
    assert [one["status"] for one in server.recurring] == ["ENABLED", "ENABLED"]


def test_a_schedule_is_found_behind_pages_of_old_ones(submit: Submit, server: KfpServer) -> None:
    submit(cron="@daily")
    first = server.recurring[0]
    server.recurring[:0] = [
        first | {"recurring_run_id": f"old-{number}", "status": "DISABLED"} for number in range(201)
    ]
    submit(cron="@hourly")
    assert first["status"] == "DISABLED"
    assert [one["status"] for one in server.recurring].count("ENABLED") == 1


def test_schedules_of_other_namespaces_stay(submit: Submit, server: KfpServer) -> None:
    server.multi_user = True
    for namespace in ("team-a", "team-b", "team-a"):
        submit(cron="@daily", namespace=namespace, service_account=f"of-{len(server.recurring)}")
    assert [one["status"] for one in server.recurring] == ["DISABLED", "ENABLED", "ENABLED"]


def test_a_schedule_of_a_new_version_takes_the_place_of_the_old_one(
    submit: Submit, server: KfpServer, package: Path
) -> None:
    submit(cron="@daily")
    package.write_text(package.read_text() + "\n# changed\n")
    submit(cron="@daily")
    assert [one["status"] for one in server.recurring] == ["DISABLED", "ENABLED"]


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"cron": "0 3 * * *"}, "has five fields"),
        ({"cron": "@daily", "wait": True}, "--wait waits for one run, and --schedule has no end"),
        ({"cron": "@daily", "no_cache": True}, "--no-cache is for one run"),
    ],
)
def test_what_does_not_fit_a_schedule_is_told_before_anything_is_sent(
    submit: Submit, server: KfpServer, asked: dict[str, object], sentence: str
) -> None:
    with pytest.raises(InputError, match=re.escape(sentence)):
        submit(**asked)
    assert server.requests == []


# What the server refuses


def test_the_server_s_own_words_about_a_refused_pipeline(
    submit: Submit, server: KfpServer, tmp_path: Path
) -> None:
    odd = small_package.write(tmp_path / "odd.yaml", nonsense={"a": 1})
    with pytest.raises(
        PipelineError, match=r"refuses the request \(400\): invalid v2 pipeline spec: .*nonsense"
    ) as refused:
        submit(file=odd)
    assert refused.value.exit_status == 1
    assert "\n" not in str(refused.value)
    assert server.runs == []


def test_a_refused_run(submit: Submit, server: KfpServer) -> None:
    message = "Failed to create a run: Internal Server Error"
    server.faults = [("POST /apis/v2beta1/runs", Answer(500, {"code": 13, "message": message}), 1)]
    with pytest.raises(PipelineError, match=rf"refuses the request \(500\): {message}"):
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
            "max_bad_fraction=0.5",
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
        "max_bad_fraction": 0.5,
        "max_class_shift": 0.25,
    }
    # Each step after those that it waits for.
    order = [match[1] for match in re.finditer(r"\] (\w+): ", shown)]
    assert len(order) == len(STEPS + LOOKS)
    for earlier, later in (
        ("DataFingerprint", "ImageExampleGen"),
        ("DataGate", "Transform"),
        ("Trainer", "BlessedModelLookup"),
        ("Trainer", "BestModelLookup"),
        ("BestModel", "PredictionTable"),
        ("PredictionTable", "Evaluator"),
        ("ServingCheck", "QualityGate"),
        ("QualityGate", "EvaluationReport"),
        ("QualityGate", "Pusher"),
    ):
        assert order.index(earlier) < order.index(later)
    submit(file=file, no_cache=True)
    spec = server.made(RUNS)[1].body["pipeline_spec"]["pipeline_spec"]
    caching = [task.get("cachingOptions", {}) for task in spec["root"]["dag"]["tasks"].values()]
    assert len(caching) == len(STEPS + LOOKS)
    assert not any(options.get("enableCache") for options in caching)
