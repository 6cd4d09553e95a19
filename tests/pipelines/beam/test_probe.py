"""The check of the Beam workers, on a real cluster."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.errors import InputError
from pipelines.beam.probe import check_workers
from pipelines.settings.beam import BeamConfig, FlinkConfig
from tests.flink.cluster import FlinkCluster


@pytest.mark.flink
def test_what_the_workers_do_not_see_is_named(cluster: FlinkCluster, shared: Path, tmp_path: Path) -> None:
    flink = FlinkConfig(
        master=cluster.master,
        job_endpoint=cluster.job_endpoint,
        environment="external",
        worker_pool=cluster.worker_pool,
        parallelism=2,
    )
    beam = BeamConfig(runner="flink", flink=flink)
    (shared / "settings.yaml").touch()
    check_workers(beam, [str(shared / "settings.yaml")], "pets-WorkerCheck")
    with pytest.raises(InputError, match=str(tmp_path)):
        check_workers(beam, [str(shared), str(tmp_path)], "pets-WorkerCheck")
