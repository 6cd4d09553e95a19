"""Past runs in the output root: their records, metadata and reports."""
