"""A local server with TensorFlow Serving's APIs, for development and tests. It is not TensorFlow Serving."""
