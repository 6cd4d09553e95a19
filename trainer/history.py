"""What every epoch of a training came to, as a file: learning curves are drawn from it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FILE = "history.json"

# `epoch`, counted from 1 in its phase, and `accuracy`, `loss`, `auc` on `train` and, as `val_…`, on `eval`;
# None where a metric was no finite number.
EpochMetrics = dict[str, float | None]


@dataclass(frozen=True)
class History:
    """All finished epochs of a training, those before it was killed and resumed included.

    Attributes:
        phases: The epochs of every phase that was trained, by its name, in the order of training.
        kept_phase: The phase that the model's weights are from.
        kept_epoch: The epoch of that phase.
    """

    phases: dict[str, list[EpochMetrics]]
    kept_phase: str
    kept_epoch: int

    def write(self, folder: Path) -> None:
        """Writes `history.json` to a folder, which is made when needed.

        It holds `phases`, a list of `name` and `epochs`, and `kept`, which names a `phase` and an `epoch`.
        """
        content = {
            "phases": [{"name": name, "epochs": epochs} for name, epochs in self.phases.items()],
            "kept": {"phase": self.kept_phase, "epoch": self.kept_epoch},
        }
        folder.mkdir(parents=True, exist_ok=True)
        (folder / FILE).write_text(f"{json.dumps(content, indent=2, allow_nan=False)}\n", encoding="utf-8")
