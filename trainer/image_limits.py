"""Limits of the images that are decoded, checked in the exported model's graph.

TensorFlow Serving runs the model alone, so the limits must be part of it. They are those of
`serving.image_limits`, which checks requests and examples without TensorFlow.
"""

from __future__ import annotations

import tensorflow as tf

MAX_SCANS = 100
MAX_SCAN_PIXELS = 400_000_000  # number of scans times width times height
MAX_COMPRESSED_TEXTS = 8

_JPEG_MAGIC, _PNG_MAGIC = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
# A scan's marker and the only lengths and numbers of components that the decoder accepts after it.
_SCAN_HEADERS = tuple(b"\xff\xda\0" + bytes([6 + 2 * components, components]) for components in range(1, 5))
_PNG_HEADER = 24  # bytes: magic, the length and type of the first chunk, width, height


def check(encoded: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Returns the images unchanged, after a check of their headers that decodes nothing.

    Args:
        encoded: string [N].
        max_pixels: Largest width times height.

    Raises:
        tf.errors.InvalidArgumentError: On execution, if an element is not a JPEG or PNG, or exceeds a limit.
    """
    problems = tf.map_fn(lambda image: _find_problem(image, max_pixels), encoded)
    is_accepted = tf.equal(problems, "")
    assertion = tf.debugging.Assert(
        tf.reduce_all(is_accepted), [tf.boolean_mask(problems, tf.logical_not(is_accepted))], summarize=1
    )
    with tf.control_dependencies([assertion]):
        return tf.identity(encoded)


def _find_problem(image: tf.Tensor, max_pixels: int) -> tf.Tensor:
    """Returns why an image must not be decoded, string []; empty if it may."""
    header = tf.strings.substr(image, 0, _PNG_HEADER) + bytes(_PNG_HEADER)  # long enough to read from

    def find_jpeg_problem() -> tf.Tensor:
        pixels = tf.reduce_prod(tf.cast(tf.image.extract_jpeg_shape(image)[:2], tf.int64))
        scans = tf.add_n([_count(image, scan_header, MAX_SCANS) for scan_header in _SCAN_HEADERS])
        max_scans = tf.minimum(MAX_SCAN_PIXELS // tf.maximum(pixels, 1), MAX_SCANS)
        return tf.case(
            [
                (pixels > max_pixels, lambda: _too_many_pixels(pixels, max_pixels)),
                (
                    scans > max_scans,
                    lambda: tf.strings.format(
                        "The image has more than {} scans: save it as a baseline JPEG.", max_scans
                    ),
                ),
            ],
            default=lambda: tf.constant(""),
        )

    def find_png_problem() -> tf.Tensor:
        # A side of 2^31 or more is negative here; the decoder rejects it.
        sides = tf.io.decode_raw(tf.strings.substr(header, 16, 8), tf.int32, little_endian=False)
        pixels = tf.reduce_prod(tf.cast(sides, tf.int64))
        texts = tf.add_n([_count(image, kind, MAX_COMPRESSED_TEXTS) for kind in (b"zTXt", b"iTXt")])
        return tf.case(
            [
                (
                    tf.strings.substr(header, 12, 4) != b"IHDR",
                    lambda: tf.constant("The first chunk of a PNG is not IHDR."),
                ),
                (pixels > max_pixels, lambda: _too_many_pixels(pixels, max_pixels)),
                (
                    texts > MAX_COMPRESSED_TEXTS,
                    lambda: tf.constant(f"The image has more than {MAX_COMPRESSED_TEXTS} compressed texts."),
                ),
            ],
            default=lambda: tf.constant(""),
        )

    return tf.case(
        [
            (tf.strings.substr(header, 0, len(_JPEG_MAGIC)) == _JPEG_MAGIC, find_jpeg_problem),
            (tf.strings.substr(header, 0, len(_PNG_MAGIC)) == _PNG_MAGIC, find_png_problem),
        ],
        default=lambda: tf.constant("The image is neither a JPEG nor a PNG."),
    )


def _count(image: tf.Tensor, pattern: bytes, limit: int) -> tf.Tensor:
    """Counts the occurrences of a pattern up to one more than the limit, which bounds the memory."""
    return tf.size(tf.strings.split(image, pattern, maxsplit=limit + 1), tf.int64) - 1


def _too_many_pixels(pixels: tf.Tensor, limit: int) -> tf.Tensor:
    return tf.strings.format("The image has too many pixels: {}, the limit is {}.", (pixels, limit))
