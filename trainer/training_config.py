"""What is trained and how: the settings that the Trainer shares with the pipeline's settings tree."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator

NAMED_WEIGHTS = ("packaged", "imagenet", "random")  # all others are paths

# Pixels: what each network of Keras Applications was trained on.
_USUAL_RESOLUTION = 224
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
    """A part of the settings tree: unknown keys are refused, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


class AugmentationConfig(ConfigSection):
    """Random changes of the training images, in both phases.

    Attributes:
        flip: Mirror left and right.
        rotation: Largest rotation either way, as a fraction of a full turn.
        zoom: Largest zoom in or out, as a fraction of the size.
        contrast: Largest relative change of contrast.
    """

    flip: bool = True
    rotation: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    zoom: Annotated[float, Field(ge=0, lt=1)] = 0.1
    contrast: Annotated[float, Field(ge=0, lt=1)] = 0.1


class FeatureCacheConfig(ConfigSection):
    """Whether the frozen part of the network runs once per picture, and what is kept of that.

    Attributes:
        enabled: Train from kept features; otherwise every epoch runs the whole network on newly augmented
            pictures.
        views: How often each training picture is seen: as stored, mirrored, then changed at random.
        dtype: How features are kept.
        memory_mb: Megabytes that the features of a split may take in memory in each phase; more are read from
            disk in every epoch.
    """

    enabled: bool = True
    views: Count = 2
    dtype: Literal["float16", "float32"] = "float16"
    memory_mb: Annotated[int, Field(ge=1)] = 512


class PhaseConfig(ConfigSection):
    """One training phase.

    Attributes:
        epochs: Largest number of passes over `train`; 0 leaves the phase out.
        learning_rate: Adam's step size at the start of the phase; it falls to zero along a cosine.
    """

    epochs: Annotated[int, Field(ge=0)]
    learning_rate: LearningRate


def _or_own(image_size: Any, others: ValidationInfo) -> Any:
    # A name that is none gets the usual size here; `trainer.backbones` refuses it.
    own = _OTHER_RESOLUTIONS.get(others.data.get("backbone", ""), _USUAL_RESOLUTION)
    return own if image_size is None else image_size


class TrainingConfig(ConfigSection):
    """The network and how it is trained.

    Attributes:
        backbone: Name of a network of Keras Applications.
        weights: `packaged`, `imagenet` (Keras downloads them), `random`, or the path of a weights file.
        image_size: Height and width, in pixels, that images are resized to. None becomes what the network was
            trained on, so that read, it always is a number.
        batch_size: Images per step.
        dropout: Dropout rate before the last layer.
        augmentation: Random changes of the training images.
        feature_cache: Whether and how features are kept.
        frozen: The first phase: only the head learns.
        fine_tuning: The second phase: the backbone's last blocks learn too.
        unfrozen_blocks: How many of the backbone's last blocks the second phase trains.
        patience: Epochs without a better loss on `eval` after which a phase ends.
        seed: Seed of the head's weights, of shuffling and of augmentation.
    """

    backbone: str = "MobileNetV2"
    weights: str = "packaged"
    image_size: Annotated[int, Field(ge=32, le=1024), BeforeValidator(_or_own)] = None  # type: ignore[assignment]
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
    def _trains(self) -> TrainingConfig:
        if self.frozen.epochs + self.fine_tuning.epochs == 0:
            raise ValueError("frozen.epochs and fine_tuning.epochs are both 0: nothing would be trained")
        return self
