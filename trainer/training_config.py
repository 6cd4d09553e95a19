"""The training config: the `training` section of the settings, and what the Trainer receives."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

NAMED_WEIGHTS = ("packaged", "imagenet", "random")  # any other value is the path of a file

# The image size in pixels that each network of Keras Applications was trained on.
_DEFAULT_RESOLUTION = 224
_OTHER_RESOLUTIONS = {
    "EfficientNetB1": 240,
    "EfficientNetB2": 260,
    "EfficientNetB3": 300,
    "EfficientNetB4": 380,
    "EfficientNetB5": 456,
    "EfficientNetB6": 528,
    "EfficientNetB7": 600,
    "EfficientNetV2B1": 240,
    "EfficientNetV2B2": 260,
    "EfficientNetV2B3": 300,
    "EfficientNetV2L": 480,
    "EfficientNetV2M": 480,
    "EfficientNetV2S": 384,
    "InceptionResNetV2": 299,
    "InceptionV3": 299,
    "NASNetLarge": 331,
    "Xception": 299,
}

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
LearningRate = Annotated[float, Field(gt=0, le=1)]


class ConfigSection(BaseModel):
    """A section of the settings tree; rejects unknown keys, and is immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class AugmentationConfig(ConfigSection):
    """Random augmentation of the training images, in both phases.

    Attributes:
        flip: Whether to mirror images horizontally.
        rotation: Maximum rotation in either direction, as a fraction of a full turn.
        zoom: Maximum zoom in or out, as a fraction of the size.
        contrast: Maximum relative change of contrast.
    """

    flip: bool = True
    rotation: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1


class FeatureCacheConfig(ConfigSection):
    """The cache of the outputs of the network's frozen part.

    Attributes:
        enabled: Whether to train on cached features; otherwise every epoch runs the whole network on newly
            augmented images.
        views: Number of views of each training image: as stored, mirrored, then augmented at random.
        dtype: The type of the stored features.
        memory_mb: Megabytes of memory for the features of a split in each phase; larger splits are read from
            disk in every epoch.
    """

    enabled: bool = True
    views: Count = 2
    dtype: Literal["float16", "float32"] = "float16"
    memory_mb: Annotated[int, Field(ge=1)] = 512


class PhaseConfig(ConfigSection):
    """One training phase.

    Attributes:
        epochs: Maximum number of epochs; 0 skips the phase.
        learning_rate: Adam's initial learning rate; it falls to zero along a cosine.
    """

    epochs: Annotated[int, Field(ge=0)]
    learning_rate: LearningRate


def _default_image_size(image_size: Any, info: ValidationInfo) -> Any:
    # An unknown backbone gets the default size here; `trainer.backbones` rejects it.
    default = _OTHER_RESOLUTIONS.get(info.data.get("backbone", ""), _DEFAULT_RESOLUTION)
    return default if image_size is None else image_size


class TrainingConfig(ConfigSection):
    """The network and its training.

    Attributes:
        backbone: Name of a Keras Applications network.
        weights: `packaged`, `imagenet` (Keras downloads them), `random`, or the path of a weights file.
        image_size: Height and width, in pixels, that images are resized to. None is replaced by the size that
            the backbone was trained on, so the attribute is always a number.
        batch_size: Images per step.
        dropout: Dropout rate before the last layer.
        augmentation: Random augmentation of the training images.
        feature_cache: Whether and how to cache features.
        frozen: The first phase, which trains the head on the frozen backbone.
        fine_tuning: The second phase, which also trains the backbone's last blocks.
        unfrozen_blocks: Number of the backbone's last blocks that the second phase trains.
        patience: Number of epochs without a lower loss on `eval` after which a phase ends.
        seed: Seed of the head's weights, of shuffling and of augmentation.
    """

    backbone: str = "MobileNetV2"
    weights: str = "packaged"
    image_size: Annotated[int, Field(ge=32, le=1024), BeforeValidator(_default_image_size)] = None  # type: ignore[assignment]
    batch_size: Count = 32
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.2
    augmentation: AugmentationConfig = AugmentationConfig()
    feature_cache: FeatureCacheConfig = FeatureCacheConfig()
    frozen: PhaseConfig = PhaseConfig(epochs=5, learning_rate=3e-3)
    fine_tuning: PhaseConfig = PhaseConfig(epochs=1, learning_rate=1e-4)
    unfrozen_blocks: Count = 3
    patience: Count = 2
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0

    @model_validator(mode="after")
    def _check_epochs(self) -> TrainingConfig:
        if self.frozen.epochs + self.fine_tuning.epochs == 0:
            raise ValueError("frozen.epochs and fine_tuning.epochs are both 0: nothing would be trained")
        return self
