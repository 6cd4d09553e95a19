"""Decides from its predictions whether a model is blessed, and states the reasons."""
