"""What the tests of `run` share."""

# What follows the message of a cell that failed.
TO_DEBUG = (
    "outputs/fit.ipynb: shows what ran, with the stage's values. Fix: open it in your editor, or by "
    "`uv run --with jupyterlab jupyter lab outputs/fit.ipynb`\n"
)
