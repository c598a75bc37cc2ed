"""Runs this project's notebooks as stages of its DVC pipeline: `python -m pipeline`."""
