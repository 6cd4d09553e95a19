"""What a step gets, what becomes of what it leaves, and what runs again: with processes that really run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.kubeflow_backend.backend import Backend
from tests.kubeflow_backend.containers import Subprocesses
from tests.kubeflow_backend.errors import Refused
from tests.kubeflow_backend.object_store import session
from tests.kubeflow_backend.small_pipeline import IMAGE, small_pipeline, write

Document = dict[str, Any]


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path / "cluster", Subprocesses({IMAGE: tmp_path, IMAGE + "1": tmp_path}))


@pytest.fixture
def document() -> Document:
    return small_pipeline()


def container(document: Document, label: str) -> Document:
    found: Document = document["deploymentSpec"]["executors"][label]["container"]
    return found


def component_parameters(document: Document, component: str) -> Document:
    inputs: Document = document["components"][component].setdefault("inputDefinitions", {})
    found: Document = inputs.setdefault("parameters", {})
    return found


def fail_until(attempt: int, tmp_path: Path, document: Document) -> Path:
    """Lets all tries before that one fail; returns the folder that holds a file for each."""
    tries = tmp_path / "tries"
    container(document, "words")["command"][2] += (
        f"tries = pathlib.Path({str(tries)!r})\n"
        "tries.mkdir(exist_ok=True)\n"
        "(tries / str(len(list(tries.iterdir())))).touch()\n"
        f"if len(list(tries.iterdir())) < {attempt}: sys.exit(1)\n"
    )
    return tries


class TestARun:
    def test_parameters_artifacts_and_metadata_go_from_task_to_task(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        run = backend.run(write(tmp_path, document), {"text": "Käse & Brot"})

        assert run.succeeded, run
        assert run.steps("executed") == {"Words", "Count"}
        assert run.tasks["Count"].results.parameters["letters"].number_value == 11
        assert "writing Käse & Brot" in run.tasks["Words"].output
        uri = backend.artifact(run.tasks["Words"], "words").uri
        assert uri.startswith(f"minio://mlpipeline/v2/artifacts/small/{run.id}/Words/")
        stored = backend.folder / "store" / uri.replace("://", "/")
        assert stored.read_text() == "Käse & Brot"

    def test_consumers_get_no_type_and_what_ml_metadata_makes_of_the_metadata(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        seen = json.loads(backend.run(write(tmp_path, document)).tasks["Count"].output)
        assert seen["type"] == {"instanceSchema": ""}
        assert json.loads(seen["metadata"].pop("store_session_info"))["Provider"] == "minio"
        assert seen["metadata"] == {
            "length": 12,
            "plain": 1,
            "kinds": {"list": ["a", "b"]},
            "of": {"struct": {"x": 1}},
            "display_name": "words",
        }

    def test_a_step_sees_its_inputs_and_nothing_else(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        container(document, "count")["command"][2] += (
            "print(sorted(str(p.name) for p in pathlib.Path().rglob('*') if p.is_file()))\n"
        )
        backend.run(write(tmp_path, document))
        output = backend.run(write(tmp_path, document), {"text": "other"}).tasks["Count"].output
        assert "['letters', 'words']" in output

    def test_missing_component_defaults_are_filled_in_by_the_launcher(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        component_parameters(document, "count")["much"] = {
            "parameterType": "NUMBER_DOUBLE",
            "defaultValue": 0.5,
            "isOptional": True,
        }
        container(document, "count")["command"][2] += "print(given['inputs']['parameterValues'])\n"
        run = backend.run(write(tmp_path, document))
        assert "{'much': 0.5}" in run.tasks["Count"].output

    def test_variables_are_expanded_as_kubernetes_does_it(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        words = container(document, "words")
        words["env"] = [{"name": "ANIMAL", "value": "cat"}]
        words["command"] += ["$(ANIMAL) $(OTHER) $$5"]
        words["command"][2] = words["command"][2].replace(
            "text, whole, where = sys.argv[1:]", "animal, text, whole, where = sys.argv[1:]; print(animal)"
        )
        output = backend.run(write(tmp_path, document)).tasks["Words"].output
        assert "cat $(OTHER) $5" in output

    def test_this_machine_s_environment_and_home_are_not_seen(
        self, tmp_path: Path, document: Document, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
        monkeypatch.setenv("HOME", str(tmp_path / "me"))
        words = container(document, "words")
        words["env"] = [{"name": "ANIMAL", "value": "cat"}]
        words["command"][2] += "import os; print(*os.environ, '~ is', pathlib.Path.home())\n"
        backend = Backend(tmp_path / "cluster", Subprocesses({IMAGE: tmp_path}, environment={"MARK": "1"}))
        names, home = backend.run(write(tmp_path, document)).tasks["Words"].output.split(" ~ is ")
        assert {"PATH", "HOME", "ANIMAL", "MARK"} <= set(names.split())
        assert "AWS_SECRET_ACCESS_KEY" not in names
        assert home.startswith(str(tmp_path / "cluster"))

    def test_the_mount_path_of_a_claim_is_its_folder(self, tmp_path: Path, document: Document) -> None:
        volume = tmp_path / "volume"
        volume.mkdir()
        backend = Backend(tmp_path / "cluster", Subprocesses({IMAGE: tmp_path}, {"state": volume}))
        container(document, "words")["command"][2] += (
            "print('/state/a', '/other/state', '/states', '/state')\n"
        )
        platform = {
            "platforms": {
                "kubernetes": {
                    "deploymentSpec": {
                        "executors": {"words": {"pvcMount": [{"mountPath": "/state", "constant": "state"}]}}
                    }
                }
            }
        }
        output = backend.run(write(tmp_path, document, platform)).tasks["Words"].output
        assert f"{volume}/a /other/state /states {volume}\n" in output


class TestTheCache:
    def test_what_has_not_changed_is_cached_with_the_same_artifacts(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        file = write(tmp_path, document)
        first, second = backend.run(file), backend.run(file)
        assert second.steps("cached") == {"Words", "Count"}
        assert second.tasks["Words"].results == first.tasks["Words"].results

    def test_another_parameter_runs_again_what_depends_on_it(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        file = write(tmp_path, document)
        backend.run(file)
        assert backend.run(file, {"text": "x"}).steps("executed") == {"Words", "Count"}

    def test_an_uncached_task_gives_its_consumers_other_artifacts(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        document["root"]["dag"]["tasks"]["Words"]["cachingOptions"] = {}
        file = write(tmp_path, document)
        backend.run(file)
        assert backend.run(file).steps("executed") == {"Words", "Count"}

    def test_another_image_runs_again(self, tmp_path: Path, backend: Backend, document: Document) -> None:
        backend.run(write(tmp_path, document))
        container(document, "count")["image"] = IMAGE + "1"
        run = backend.run(write(tmp_path, document))
        assert (run.steps("cached"), run.steps("executed")) == ({"Words"}, {"Count"})

    def test_another_pipeline_shares_nothing(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        backend.run(write(tmp_path, document))
        document["pipelineInfo"]["name"] = "other"
        assert backend.run(write(tmp_path, document)).steps("executed") == {"Words", "Count"}

    def test_the_environment_does_not_count(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        backend.run(write(tmp_path, document))
        container(document, "words")["env"] = [{"name": "A", "value": "b"}]
        assert backend.run(write(tmp_path, document)).steps("cached") == {"Words", "Count"}


class TestFailures:
    def test_what_depends_on_a_failed_task_does_not_run(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        container(document, "words")["command"][2] += "sys.exit('no words today')\n"
        run = backend.run(write(tmp_path, document))
        assert not run.succeeded
        assert (run.steps("failed"), run.steps("omitted")) == ({"Words"}, {"Count"})
        assert "no words today" in run.tasks["Words"].output
        assert "exit status 1" in run.tasks["Words"].error

    def test_a_failed_task_is_not_cached(self, tmp_path: Path, backend: Backend, document: Document) -> None:
        marker = tmp_path / "marker"
        container(document, "words")["command"][2] += (
            f"marker = pathlib.Path({str(marker)!r})\nif not marker.exists(): marker.touch(); sys.exit(1)\n"
        )
        file = write(tmp_path, document)
        assert backend.run(file).steps("failed") == {"Words"}
        assert backend.run(file).steps("executed") == {"Words", "Count"}

    def test_it_is_tried_again_as_often_as_the_pipeline_says(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        tries = fail_until(3, tmp_path, document)
        task = document["root"]["dag"]["tasks"]["Words"]
        task["retryPolicy"] = {"maxRetryCount": 1, "backoffMaxDuration": "600s"}
        assert backend.run(write(tmp_path, document)).steps("failed") == {"Words"}
        assert len(list(tries.iterdir())) == 2
        assert backend.run(write(tmp_path, document)).succeeded

    @pytest.mark.parametrize(
        ("policy", "tried"),
        [
            ({"backoffDuration": "30s", "backoffFactor": 2, "backoffMaxDuration": "600s"}, 3),
            ({"backoffDuration": "30s", "backoffFactor": 2, "backoffMaxDuration": "60s"}, 2),
            ({"backoffDuration": "30s", "backoffFactor": 2, "backoffMaxDuration": "20s"}, 1),
            ({"backoffDuration": "0s", "backoffFactor": 2}, 1),
        ],
    )
    def test_there_is_no_further_try_that_would_begin_after_the_longest_duration(
        self, policy: Document, tried: int, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        tries = fail_until(9, tmp_path, document)
        document["root"]["dag"]["tasks"]["Words"]["retryPolicy"] = {"maxRetryCount": 2, **policy}
        run = backend.run(write(tmp_path, document))
        assert len(list(tries.iterdir())) == tried
        assert ("Max duration limit exceeded" in run.tasks["Words"].error) == (tried < 3)

    def test_a_further_try_is_killed_at_the_longest_duration(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        tries = fail_until(2, tmp_path, document)
        container(document, "words")["command"][2] += "import time\ntime.sleep(60)\n"
        task = document["root"]["dag"]["tasks"]["Words"]
        task["retryPolicy"] = {"maxRetryCount": 1, "backoffMaxDuration": "5s"}
        run = backend.run(write(tmp_path, document))
        assert run.steps("failed") == {"Words"}
        assert len(list(tries.iterdir())) == 2
        assert run.tasks["Words"].seconds < 30

    def test_it_is_killed_at_its_deadline(self, tmp_path: Path, backend: Backend, document: Document) -> None:
        container(document, "words")["command"][2] += "import time\ntime.sleep(60)\n"
        executors = {"words": {"activeDeadlineSeconds": 1}}
        platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
        run = backend.run(write(tmp_path, document, platform))
        assert run.steps("failed") == {"Words"}
        assert run.tasks["Words"].seconds < 30

    def test_an_output_of_another_run_is_refused(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        earlier = backend.artifact(backend.run(write(tmp_path, document)).tasks["Words"], "words").uri
        container(document, "words")["command"][2] += (
            f"said['artifacts']['words']['artifacts'][0]['uri'] = {earlier!r}\n"
            'pathlib.Path(json.loads(whole)["outputs"]["outputFile"]).write_text(json.dumps(said))\n'
        )
        run = backend.run(write(tmp_path, document))
        assert f"URI '{earlier}' does not have expected bucket prefix" in run.tasks["Words"].error

    def test_an_output_without_a_file_is_a_warning(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        container(document, "words")["command"][2] += "pathlib.Path(where).unlink()\n"
        run = backend.run(write(tmp_path, document))
        assert run.steps("executed") == {"Words"}
        assert "does not exist" in run.tasks["Words"].output
        assert "FileNotFoundError" in run.tasks["Count"].output

    def test_a_missing_output_parameter_fails_the_task(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        container(document, "count")["command"][2] += "pathlib.Path(result).unlink()\n"
        run = backend.run(write(tmp_path, document))
        assert "failed to read output parameter name='letters'" in run.tasks["Count"].error


class TestInputsThatTheDriverRefuses:
    def test_a_value_that_nobody_gives(self, tmp_path: Path, backend: Backend, document: Document) -> None:
        component_parameters(document, "count")["much"] = {"parameterType": "NUMBER_DOUBLE"}
        run = backend.run(write(tmp_path, document))
        assert run.tasks["Count"].error == (
            "neither value nor default value provided for non-optional parameter 'much'"
        )

    def test_a_default_that_is_not_optional(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        component_parameters(document, "count")["much"] = {
            "parameterType": "NUMBER_DOUBLE",
            "defaultValue": 1,
        }
        run = backend.run(write(tmp_path, document))
        assert "parameter much has unknown protobuf.Value type" in run.tasks["Count"].error

    def test_a_value_of_another_type(self, tmp_path: Path, backend: Backend, document: Document) -> None:
        component_parameters(document, "words")["text"] = {"parameterType": "NUMBER_DOUBLE"}
        run = backend.run(write(tmp_path, document))
        assert "type mismatch: expect NUMBER_DOUBLE, got string_value" in run.tasks["Words"].error

    def test_a_runtime_parameter(self, tmp_path: Path, backend: Backend, document: Document) -> None:
        document["root"]["dag"]["tasks"]["Words"]["inputs"]["parameters"]["text"] = {
            "runtimeValue": {"runtimeParameter": "text"}
        }
        run = backend.run(write(tmp_path, document))
        assert "spec of type runtime_parameter not implemented" in run.tasks["Words"].error

    def test_a_placeholder_of_something_else(
        self, tmp_path: Path, backend: Backend, document: Document
    ) -> None:
        container(document, "words")["args"][0] = "{{$.inputs.parameters['texts']}}"
        run = backend.run(write(tmp_path, document))
        assert "parameter 'texts' not found in executor input" in run.tasks["Words"].error

    @pytest.mark.parametrize(
        ("root", "name"),
        [
            ("minio://bucket/a?endpoint=http://minio:9000&s3ForcePathStyle=true", "s3ForcePathStyle"),
            ("s3://bucket?region=eu&disableSSL=true", "disableSSL"),
            ("gs://bucket?region=eu", "region"),
        ],
    )
    def test_a_name_in_the_query_that_gocloud_does_not_know(self, root: str, name: str) -> None:
        with pytest.raises(Refused, match=f"unknown query parameter '{name}'"):
            session(root)

    @pytest.mark.parametrize(
        "root", ["s3://b/a?endpoint=http://m:9000&region=eu&use_path_style=true&disable_https=true", "gs://b"]
    )
    def test_a_query_that_gocloud_knows_is_taken(self, root: str) -> None:
        assert session(root)["Params"] == {"fromEnv": "true"}

    @pytest.mark.parametrize("root", ["/artifacts", "file:///artifacts", ""])
    def test_a_pipeline_root_that_is_no_store(
        self, tmp_path: Path, backend: Backend, document: Document, root: str
    ) -> None:
        document["defaultPipelineRoot"] = root
        with pytest.raises(Refused, match="parse bucket config failed"):
            backend.run(write(tmp_path, document))
