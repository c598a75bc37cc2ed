"""What the tests of `run` share."""

# What follows the message of a cell that failed.
TO_DEBUG = (
    "outputs/fit.ipynb: shows what ran. Fix: to run its cells one by on"
    "e with the same values, uv run pipeline open fit\n"
)
