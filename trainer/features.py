"""Names of the features of one image, shared by ingest, validation, training and evaluation.

The names follow TensorFlow's convention for image `tf.Example`s. `ENCODED` holds the stored JPEG or PNG
bytes, unchanged; all others are small, and statistics, validation and slices use them.
"""

ENCODED = "image/encoded"
FILENAME = "image/filename"
DIGEST = "image/digest"  # hex SHA-256 of ENCODED
LABEL = "image/class/label"  # int64: the index into the class names
CLASS_NAME = "image/class/text"
HEIGHT = "image/height"  # int64, pixels
WIDTH = "image/width"  # int64, pixels
FORMAT = "image/format"  # "jpeg" or "png"
MODE = "image/mode"  # Pillow's mode: "RGB", "L", "CMYK", …
BYTE_SIZE = "image/byte_size"  # int64, length of ENCODED
BRIGHTNESS = "image/brightness"  # float, mean luma, 0 to 1
CONTRAST = "image/contrast"  # float, standard deviation of luma, 0 to 0.5
SOURCE_FOLDER = "image/source_folder"

# The same properties as named ranges, because TFMA slices by string values.
RESOLUTION_RANGE = "image/resolution_range"
ASPECT_RANGE = "image/aspect_range"
BRIGHTNESS_RANGE = "image/brightness_range"
BYTE_SIZE_RANGE = "image/byte_size_range"

INTEGERS = (LABEL, HEIGHT, WIDTH, BYTE_SIZE)
FLOATS = (BRIGHTNESS, CONTRAST)
RANGES = (RESOLUTION_RANGE, ASPECT_RANGE, BRIGHTNESS_RANGE, BYTE_SIZE_RANGE)
STRINGS = (FILENAME, DIGEST, CLASS_NAME, FORMAT, MODE, SOURCE_FOLDER, *RANGES)

# Statistics leave out file names and digests, which are all different, and the encoded pixels.
IN_STATISTICS = (*INTEGERS, *FLOATS, *(name for name in STRINGS if name not in (FILENAME, DIGEST)))

# Transform writes one serialized uint8 tensor [size, size, 3] per image, and the label.
PIXELS = "pixels"
