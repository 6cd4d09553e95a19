"""The model repository: pushed versions, which of them are served, and the history of changes."""
