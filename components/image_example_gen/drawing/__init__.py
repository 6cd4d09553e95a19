"""Synthetic images of cats and dogs, drawn from a seed; needs neither network access nor data.

`draw` returns an image and `jpeg` the encoded file; both take (index, seed, label). `python -m
components.image_example_gen.drawing SHEET.png` draws a contact sheet.
"""

from components.image_example_gen.drawing.scene import CAT, DOG, draw, jpeg

__all__ = ["CAT", "DOG", "draw", "jpeg"]
