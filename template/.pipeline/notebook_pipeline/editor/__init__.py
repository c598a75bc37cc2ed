"""`pipeline lab`, `pipeline open` and what the kernels of an editor do: its notebooks get the values of params.yaml, too."""
