import contextlib
import sqlite3
from pathlib import Path

import ml_metadata
from ml_metadata.proto import metadata_store_pb2

from pipelines.runs import metadata


def test_the_newest_run_comes_first_also_after_the_clock_was_set_back(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    config = metadata_store_pb2.ConnectionConfig()
    config.sqlite.filename_uri = str(path)
    store = ml_metadata.MetadataStore(config)
    run_type = store.put_context_type(metadata_store_pb2.ContextType(name="pipeline_run"))
    names = ["2026-11-22T05-10-01Z", "2026-11-22T05-10-02Z", "2026-11-22T05-10-03Z"]
    for name in names:
        store.put_contexts([metadata_store_pb2.Context(type_id=run_type, name=name)])
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE Context SET create_time_since_epoch = 1000 * (10 - id)")
    reopened = metadata.open_store(path)
    assert reopened is not None
    assert [run.name for run in metadata.run_contexts(reopened)] == names[::-1]
