"""The size of the pictures that each network was trained on; light, so that the settings can tell it."""

from __future__ import annotations

_USUAL = 224
_OTHERS = {
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


def own(backbone: str) -> int:
    """Returns the height and width, in pixels, that a network of Keras Applications was trained on.

    A name that is none gets the usual size here; `trainer.backbones` refuses it.
    """
    return _OTHERS.get(backbone, _USUAL)
