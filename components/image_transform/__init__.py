"""TFX's Transform with faster materialisation of the transformed images."""
