"""Ingests labelled images from a folder, from TensorFlow Datasets or drawn, and writes them as `tf.Example`s.

This module imports nothing, so that `sources.check_source`, which the CLI calls first, stays fast.
"""
