"""`pipeline check`: the pre-commit hook."""
