"""`pipeline code`: writes a notebook's code, for DVC to compare."""
