"""The settings of the data: where the images come from, how they are split, what is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator, model_validator

from trainer.training_config import ConfigSection, Count, Fraction


class SplitConfig(ConfigSection):
    """Shares of the three splits; a source with its own test folder only uses train : eval.

    Attributes:
        train: Share that is fitted.
        eval: Share for early stopping and choices.
        test: Share that only the Evaluator sees, and what judges after it.
        seed: Which hash partition is used; another seed gives another partition.
    """

    train: Fraction = 0.8
    eval: Fraction = 0.1
    test: Fraction = 0.1
    seed: int = 0

    @model_validator(mode="after")
    def _whole(self) -> SplitConfig:
        total = self.train + self.eval + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"train + eval + test must be 1, and are {total:g}")
        if min(self.train, self.eval, self.test) <= 0:
            raise ValueError("train, eval and test must each be above 0")
        return self


class SampleConfig(ConfigSection):
    """The drawn pictures.

    Attributes:
        count: How many, both classes together.
        seed: Another seed draws other pictures.
    """

    count: Count = 1000
    seed: int = 0


class TfdsConfig(ConfigSection):
    """A TensorFlow Datasets builder.

    Attributes:
        builder: Its name, with configuration and version where wanted (`cats_vs_dogs:4.0.1`).
        data_dir: Where data sets are prepared; None means TFDS's own default.
        download: Whether to download and prepare what is not there yet.
    """

    builder: str = "cats_vs_dogs"
    data_dir: Path | None = None
    download: bool = True


class DataConfig(ConfigSection):
    """Where the images come from and what is accepted.

    Attributes:
        source: `sample` (drawn), `folder` (DIR/<class>/* or DIR/{train,validation|test}/<class>/*) or `tfds`.
        folder: The folder of `source: folder`.
        class_names: The two classes; the index is the label, and the second one is the positive class.
        max_rejected_fraction: Share of unreadable images above which the run stops.
        max_pixels: Images with more pixels than this are set aside.
        max_class_shift: Largest tolerable change of a class's share against the last accepted data.
    """

    source: Literal["sample", "folder", "tfds"] = "sample"
    folder: Path | None = None
    sample: SampleConfig = SampleConfig()
    tfds: TfdsConfig = TfdsConfig()
    class_names: tuple[str, str] = ("cat", "dog")
    split: SplitConfig = SplitConfig()
    max_rejected_fraction: Fraction = 0.01
    max_pixels: Count = 50_000_000
    max_class_shift: Fraction = 0.1

    @property
    def source_spec(self) -> dict[str, Any]:
        """The chosen source alone, as ImageExampleGen takes it: its `kind` and what belongs to it."""
        chosen: dict[str, Any] = {
            "folder": {"folder": self.folder},
            "sample": self.sample.model_dump(),
            "tfds": self.tfds.model_dump(),
        }[self.source]
        texts = {key: str(value) if isinstance(value, Path) else value for key, value in chosen.items()}
        return {"kind": self.source, **texts}

    @property
    def source_name(self) -> str:
        """Where the images come from, in short; data are compared only with earlier ones of the same name."""
        details = {"sample": "", "folder": f" {self.folder}", "tfds": f" {self.tfds.builder}"}
        return f"{self.source}{details[self.source]}"

    @field_validator("class_names", mode="before")
    @classmethod
    def _two(cls, names: Any) -> Any:
        if not isinstance(names, list | tuple) or len(names) != 2:
            raise ValueError(f"it must be a list of two classes, such as [cat, dog], and is {names!r}")
        return names

    @model_validator(mode="after")
    def _consistent(self) -> DataConfig:
        if self.source == "folder" and self.folder is None:
            raise ValueError("source is 'folder' and folder is not set: name it with --images DIR")
        first, second = (name.lower() for name in self.class_names)
        if first == second:
            raise ValueError(f"the two class_names must differ, and are both {first!r}")
        if not all(name.isidentifier() for name in self.class_names):
            raise ValueError(
                f"class_names {list(self.class_names)} must be plain words (letters, digits, underscore): "
                "the model's output is named after the second one"
            )
        return self
