"""The commands of `catsdogs`, one module each."""
