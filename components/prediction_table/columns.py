"""Names of the columns of the prediction table, which has one row for each test image.

A row also holds the features of the image that `IMAGE_COLUMNS` lists.
"""

from trainer import features

PROBABILITY = "probability"  # float: of the second class, from the candidate
NEWEST = "newest_probability"  # float: from the last blessed model, if it was compared
BEST = "best_probability"  # float: from the best model, if it was compared and is another one
SEEN_IN_TRAINING = "seen_in_training"  # int64: 1 if the same bytes are in `train` or `eval`

BASELINE_COLUMNS = {"newest": NEWEST, "best": BEST}

# Applied to a sample of the images; the candidate's probability is in `perturbed_column(name)`, float.
PERTURBATIONS = ("flipped", "darkened", "recompressed", "resized")

SLICES = (features.CLASS_NAME, features.SOURCE_FOLDER, *features.RANGES)
IMAGE_COLUMNS = (features.FILENAME, features.DIGEST, features.LABEL, *SLICES)


def perturbed_column(name: str) -> str:
    """Returns the name of the column with the probability under one of `PERTURBATIONS`."""
    return f"{PROBABILITY}/{name}"
