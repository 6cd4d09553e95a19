"""A small local stand-in for TensorFlow Serving, for development and tests. It is not TensorFlow Serving."""
