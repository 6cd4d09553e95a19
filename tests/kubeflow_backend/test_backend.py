"""The rules by which a run of the compiled pipeline is judged, each with processes that really run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.kubeflow_backend.backend import Backend, Run
from tests.kubeflow_backend.containers import Subprocesses
from tests.kubeflow_backend.errors import Refused
from tests.kubeflow_backend.object_store import session
from tests.kubeflow_backend.retries import INSTALLED, RetryStrategy
from tests.kubeflow_backend.small_pipeline import IMAGE, small_pipeline, write

Document = dict[str, Any]

BOTH = {"Words", "Count"}


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(tmp_path / "cluster", Subprocesses({IMAGE: tmp_path, IMAGE + "1": tmp_path}))


@pytest.fixture
def document() -> Document:
    return small_pipeline()


@pytest.fixture
def run(tmp_path: Path, backend: Backend, document: Document) -> Callable[..., Run]:
    """`run(**parameters)`: runs the document as it then is."""
    return lambda **parameters: backend.run(write(tmp_path, document), parameters)


def task(document: Document, name: str) -> Document:
    found: Document = document["root"]["dag"]["tasks"][name]
    return found


def container(document: Document, label: str) -> Document:
    found: Document = document["deploymentSpec"]["executors"][label]["container"]
    return found


def add_code(document: Document, label: str, code: str) -> None:
    container(document, label)["command"][2] += f"{code}\n"


def platform(**fields: Any) -> Document:
    """Returns the second document, with what it says of `Words`."""
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"words": fields}}}}}


class TestARun:
    def test_parameters_artifacts_and_metadata_go_from_task_to_task(
        self, backend: Backend, document: Document, run: Callable[..., Run]
    ) -> None:
        done = run(text="Käse & Brot")
        assert done.steps("executed") == BOTH, done
        assert done.tasks["Count"].results.parameters["letters"].number_value == 11
        uri = backend.artifact(done.tasks["Words"], "words").uri
        assert uri.startswith(f"minio://mlpipeline/v2/artifacts/small/{done.id}/Words/")
        assert (backend.folder / "store" / uri.replace("://", "/")).read_text() == "Käse & Brot"
        seen = json.loads(done.tasks["Count"].output)
        assert seen["type"] == {"instanceSchema": ""}
        assert json.loads(seen["metadata"].pop("store_session_info"))["Provider"] == "minio"
        assert seen["metadata"] == {
            "length": 11,
            "plain": 0,
            "kinds": {"list": ["a", "b"]},
            "of": {"struct": {"x": 1}},
            "display_name": "words",
        }

    def test_a_step_sees_its_inputs_and_nothing_else(
        self, document: Document, run: Callable[..., Run]
    ) -> None:
        add_code(document, "count", "print(sorted(p.name for p in pathlib.Path().rglob('*') if p.is_file()))")
        run()
        assert "['letters', 'words']" in run(text="other").tasks["Count"].output

    def test_the_mount_path_of_a_claim_is_its_folder(self, tmp_path: Path, document: Document) -> None:
        volume = tmp_path / "volume"
        backend = Backend(tmp_path / "cluster", Subprocesses({IMAGE: tmp_path}, {"state": volume}))
        add_code(document, "words", "print('/state/a', '/other/state', '/states', '/state')")
        mounted = platform(pvcMount=[{"mountPath": "/state", "constant": "state"}])
        output = backend.run(write(tmp_path, document, mounted)).tasks["Words"].output
        assert f"{volume}/a /other/state /states {volume}\n" in output


class TestTheCache:
    def test_what_has_not_changed_is_cached_with_the_same_artifacts(self, run: Callable[..., Run]) -> None:
        first, second = run(), run()
        assert second.steps("cached") == BOTH
        assert second.tasks["Words"].results == first.tasks["Words"].results

    def test_another_parameter_and_an_uncached_task_run_again_what_depends_on_them(
        self, document: Document, run: Callable[..., Run]
    ) -> None:
        run()
        assert run(text="x").steps("executed") == BOTH
        task(document, "Words")["cachingOptions"] = {}
        assert run().steps("executed") == BOTH


class TestFailures:
    def test_nothing_follows_on_a_failed_task_and_it_is_not_cached(
        self, tmp_path: Path, document: Document, run: Callable[..., Run]
    ) -> None:
        marker = tmp_path / "marker"
        add_code(document, "words", f"marker = pathlib.Path({str(marker)!r})")
        add_code(document, "words", "if not marker.exists(): marker.touch(); sys.exit('no words today')")
        failed = run()
        assert not failed.succeeded
        assert (failed.steps("failed"), failed.steps("omitted")) == ({"Words"}, {"Count"})
        assert "no words today" in failed.tasks["Words"].output
        assert run().steps("executed") == BOTH

    @pytest.mark.parametrize(
        ("policy", "tried"),
        [
            ({"maxRetryCount": 1, "backoffMaxDuration": "600s"}, 2),
            ({"maxRetryCount": 2, "backoffDuration": "30s", "backoffMaxDuration": "60s"}, 2),
            ({"maxRetryCount": 2, "backoffDuration": "30s", "backoffMaxDuration": "20s"}, 1),
            ({"maxRetryCount": 2}, 1),  # without it Argo tries once
        ],
    )
    def test_it_is_tried_again_until_the_longest_duration_is_over(
        self, policy: Document, tried: int, tmp_path: Path, document: Document, run: Callable[..., Run]
    ) -> None:
        tries = tmp_path / "tries"
        add_code(document, "words", f"with open({str(tries)!r}, 'a') as file: file.write('.')\nsys.exit(1)")
        task(document, "Words")["retryPolicy"] = {"backoffFactor": 2, **policy}
        assert run().steps("failed") == {"Words"}
        assert len(tries.read_text()) == tried

    @pytest.mark.parametrize(
        ("defaults", "retries", "exits", "deleted", "tried", "succeeds"),
        [
            (INSTALLED, 2, 1, 0, 1, False),  # an exit status is not retried
            (INSTALLED, 2, 0, 2, 1, True),
            (INSTALLED, None, 0, 2, 1, True),  # a task without retries has the default's
            (INSTALLED, 0, 0, 2, 1, True),  # the DAG around the pod is retried, too
            (INSTALLED, 2, 0, 8, 1, True),
            (INSTALLED, 2, 0, 9, 0, False),
            (None, 2, 2, 0, 3, True),
            (None, 2, 3, 0, 3, False),
            (None, 2, 0, 1, 0, False),  # a deleted pod is not retried
            (None, None, 1, 0, 1, False),
        ],
    )
    def test_argo_s_defaults_decide_what_is_tried_again(
        self,
        defaults: RetryStrategy | None,
        retries: int | None,
        exits: int,
        deleted: int,
        tried: int,
        succeeds: bool,
        tmp_path: Path,
        document: Document,
    ) -> None:
        tries = tmp_path / "tries"
        tries.touch()
        add_code(document, "words", f"with open({str(tries)!r}, 'a') as file: file.write('.')")
        add_code(document, "words", f"if pathlib.Path({str(tries)!r}).stat().st_size <= {exits}: sys.exit(1)")
        if retries is not None:
            task(document, "Words")["retryPolicy"] = {
                "maxRetryCount": retries,
                "backoffMaxDuration": "600s",
            }
        backend = Backend(
            tmp_path / "cluster",
            Subprocesses({IMAGE: tmp_path}),
            template_defaults=defaults,
            deletions={"Words": deleted},
        )
        done = backend.run(write(tmp_path, document), {})
        assert done.succeeded == succeeds
        assert len(tries.read_text()) == tried

    def test_an_output_of_another_run_is_refused(
        self, backend: Backend, document: Document, run: Callable[..., Run]
    ) -> None:
        earlier = backend.artifact(run().tasks["Words"], "words").uri
        add_code(document, "words", f"said['artifacts']['words']['artifacts'][0]['uri'] = {earlier!r}")
        add_code(
            document,
            "words",
            'pathlib.Path(json.loads(whole)["outputs"]["outputFile"]).write_text(json.dumps(said))',
        )
        done = run()
        assert done.steps("failed") == {"Words"}
        assert earlier in done.tasks["Words"].error


@pytest.mark.parametrize("definition", [{}, {"defaultValue": 1}])  # sic: a default of its own does not do
def test_a_value_that_nobody_gives_is_refused(
    document: Document, run: Callable[..., Run], definition: Document
) -> None:
    document["components"]["count"]["inputDefinitions"]["parameters"] = {
        "much": {"parameterType": "NUMBER_DOUBLE", **definition}
    }
    assert "much" in run().tasks["Count"].error


@pytest.mark.parametrize(
    ("root", "named"),
    [
        ("minio://bucket/a?endpoint=http://minio:9000&s3ForcePathStyle=true", "s3ForcePathStyle"),
        ("gs://bucket?region=eu", "region"),
        ("/artifacts", "/artifacts"),
    ],
)
def test_a_root_that_is_no_store_is_refused(root: str, named: str) -> None:
    with pytest.raises(Refused, match=named):
        session(root)
