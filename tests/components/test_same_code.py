from __future__ import annotations

import pickle

import pytest

from components import same_code
from components.errors import InputError
from components.image_example_gen.executor import _WriteShard
from components.image_transform.executor import _TransformShard
from components.prediction_table.predict import PredictDoFn
from components.same_code import SameCodeDoFn


def test_a_worker_with_the_same_code_runs() -> None:
    pickle.loads(pickle.dumps(SameCodeDoFn())).setup()


@pytest.mark.parametrize("kind", [SameCodeDoFn, _WriteShard, _TransformShard, PredictDoFn])
def test_a_worker_with_other_code_refuses(kind: type[SameCodeDoFn], monkeypatch: pytest.MonkeyPatch) -> None:
    sent = kind.__new__(kind)
    SameCodeDoFn.__init__(sent)
    monkeypatch.setattr(same_code, "_code_fingerprint", lambda: "0123456789abcdef")
    with pytest.raises(InputError, match="0123456789ab"):
        sent.setup()
