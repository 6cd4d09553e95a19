"""Images of cats and dogs, drawn from a seed: any number of them, without network or data.

`draw` returns an image and `jpeg` the encoded file, both for (index, seed, label). `python -m
components.image_example_gen.drawing SHEET.png` draws a contact sheet.
"""

from components.image_example_gen.drawing.scene import CAT, DOG, draw, jpeg

__all__ = ["CAT", "DOG", "draw", "jpeg"]
