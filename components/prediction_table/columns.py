"""Names of the columns of the prediction table, which has one row a picture.

Beside these, a row has of the picture's own features those in `ABOUT_PICTURE`.
"""

from trainer import features

PROBABILITY = "probability"  # float: the candidate's, of the second class
NEWEST = "newest_probability"  # float: of the newest other blessed model, where it was compared
BEST = "best_probability"  # float: of the best one, where it was compared and is another one
SEEN = "seen_in_training"  # int64: 1 where the same bytes are in `train` or `eval`

BASELINES = {"newest": NEWEST, "best": BEST}

# What is done to a sample of the pictures; the candidate's answer is in `changed(name)`, float.
CHANGES = ("flipped", "darkened", "recompressed", "resized")

SLICES = (features.CLASS_NAME, features.SOURCE_FOLDER, *features.RANGES)
ABOUT_PICTURE = (features.FILENAME, features.DIGEST, features.LABEL, *SLICES)


def changed(name: str) -> str:
    """Returns the column with the answer for the picture after one of `CHANGES`."""
    return f"{PROBABILITY}/{name}"
