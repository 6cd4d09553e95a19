"""TFX's Transform, with a way of storing pixels that does not cost more than making them."""
