"""Ingest: labelled pictures from a folder, from TensorFlow Datasets or drawn, written as `tf.Example`s.

Nothing is imported here, so that `sources.check_source` stays quick: the command line calls it first.
"""
