"""What the user asked for, so that advice can repeat it."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

DEFAULT_CONFIG = "quickstart"


@dataclass(frozen=True)
class Asked:
    """The options of `catsdogs run`, as they were typed.

    Attributes:
        config: `--config`.
        images: `--images`.
        overrides: Every `--set`.
        from_step: `--from`, the first step to run anew.
        to_step: `--to`, the last step to run.
    """

    config: str = DEFAULT_CONFIG
    images: Path | None = None
    overrides: tuple[str, ...] = ()
    from_step: str | None = None
    to_step: str | None = None

    @property
    def title(self) -> str:
        """What is run, in a line."""
        images = [f"--images {self.images}"] if self.images else []
        return ", ".join([self.config, *images, *self.overrides])

    def run(self, *changes: str, from_step: str | None = None) -> str:
        """Returns the command that runs the same from `from_step` to the end.

        Args:
            changes: Settings (KEY=VALUE) that take the place of the user's.
            from_step: The first step to run anew.
        """
        changed = {_key(change) for change in changes}
        kept = [override for override in self.overrides if _key(override) not in changed]
        words = ["--config", self.config] if self.config != DEFAULT_CONFIG else []
        words += ["--images", str(self.images)] if self.images else []
        words += [word for override in [*kept, *changes] for word in ("--set", override)]
        words += ["--from", from_step] if from_step else []
        return shlex.join(["catsdogs", "run", *words])

    def on(self, command: str, output_root: Path, *words: str) -> str:
        """Returns another command on the runs in an output root, which is named where the user chose it."""
        chosen = self.config != DEFAULT_CONFIG or "output_root" in map(_key, self.overrides)
        root = ["--set", f"output_root={output_root}"] if chosen else []
        return shlex.join(["catsdogs", command, *words, *root])


def _key(override: str) -> str:
    return override.partition("=")[0]
