"""Publishes a blessed model to the folder that TensorFlow Serving watches."""
