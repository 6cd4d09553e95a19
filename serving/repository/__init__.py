"""The model repository: the versions that were pushed, which of them are served, and the history of both."""
