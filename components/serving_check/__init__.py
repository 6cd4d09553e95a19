"""Sends test images to a server before a push and checks predictions and latency."""
