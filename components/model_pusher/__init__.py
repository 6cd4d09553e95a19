"""Pushes a blessed model to the model repository that TensorFlow Serving watches."""
