"""Judges a model on its predictions, and blesses it or says why not."""
