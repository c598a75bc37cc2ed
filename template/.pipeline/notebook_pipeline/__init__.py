"""Runs this project's notebooks as stages of its DVC pipeline: the command `pipeline`."""
