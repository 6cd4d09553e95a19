"""The custom TFX components, one sub-package each."""
