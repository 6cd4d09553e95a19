"""The place of the served versions: what is pushed, kept, rolled back, and how that is written down."""
