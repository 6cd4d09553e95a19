"""The `data` settings: the source of the images, their splits and the limits of what is accepted."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import field_validator, model_validator

from components.image_example_gen.sources import source_name
from trainer.training_config import ConfigSection, Count, Fraction


class SplitConfig(ConfigSection):
    """Shares of the three splits; a source that has its own test split uses only the ratio train : eval.

    Attributes:
        train: Share of the images for training.
        eval: Share for early stopping and model selection.
        test: Share that only evaluation uses.
        seed: Seed of the hash that assigns images to splits.
    """

    train: Fraction = 0.8
    eval: Fraction = 0.1
    test: Fraction = 0.1
    seed: int = 0

    @model_validator(mode="after")
    def _check_shares(self) -> SplitConfig:
        total = self.train + self.eval + self.test
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of train, eval and test must sum to 1, but they sum to {total:g}")
        if min(self.train, self.eval, self.test) <= 0:
            raise ValueError("train, eval and test must each be above 0")
        return self


class SampleConfig(ConfigSection):
    """The sample images that the project draws.

    Attributes:
        count: Number of images, both classes together.
        seed: Seed of the drawing.
    """

    count: Count = 1000
    seed: int = 0


class TfdsConfig(ConfigSection):
    """A TensorFlow Datasets builder.

    Attributes:
        builder: Name, optionally with config and version (`cats_vs_dogs:4.0.1`).
        data_dir: Folder of the prepared data sets; None means TFDS's default.
        download: Whether to download and prepare a data set that is not in `data_dir`.
    """

    builder: str = "cats_vs_dogs"
    data_dir: Path | None = None
    download: bool = True


class DataConfig(ConfigSection):
    """The source of the images and the limits of what is accepted.

    Attributes:
        source: `sample` (drawn), `folder` (DIR/<class>/* or DIR/{train,validation|test}/<class>/*) or `tfds`.
        folder: The folder of `source: folder`.
        class_names: The two classes; the index is the label, and the second one is the positive class.
        max_rejected_fraction: Share of rejected images above which the run fails.
        max_pixels: Images with more pixels are rejected.
        max_class_shift: Largest accepted change of a class's share since the last accepted data.
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
        """The selected source as ImageExampleGen's `source` parameter: its `kind` and its settings."""
        source_settings: dict[str, Any] = {
            "folder": {"folder": self.folder},
            "sample": self.sample.model_dump(),
            "tfds": self.tfds.model_dump(),
        }[self.source]
        json_values = {
            key: str(value) if isinstance(value, Path) else value for key, value in source_settings.items()
        }
        return {"kind": self.source, **json_values}

    @property
    def source_name(self) -> str:
        """Short name of the source, as `sources.source_name` returns it."""
        return source_name(self.source_spec)

    @field_validator("class_names", mode="before")
    @classmethod
    def _check_two_classes(cls, names: Any) -> Any:
        if not isinstance(names, list | tuple) or len(names) != 2:
            raise ValueError(f"{names!r} must be a list of two classes, such as [cat, dog]")
        return names

    @model_validator(mode="after")
    def _check_consistency(self) -> DataConfig:
        if self.source == "folder" and self.folder is None:
            raise ValueError("source is 'folder' but folder is not set: set it with --images DIR")
        first, second = (name.lower() for name in self.class_names)
        if first == second:
            raise ValueError(f"the two class_names must differ, but both are {first!r}")
        if not all(name.isidentifier() for name in self.class_names):
            raise ValueError(
                f"class_names {list(self.class_names)} must be plain words (letters, digits, underscore): "
                "the model's output is named after the second one"
            )
        return self
