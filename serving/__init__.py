"""Everything after the push: the folder of served versions and what reads it."""
