"""The named configurations in `configs/`."""

from __future__ import annotations

from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
DEFAULT_CONFIG = "quickstart"


def config_names() -> list[str]:
    """Returns the names that `--config` accepts."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml") if path.stem != "base")
