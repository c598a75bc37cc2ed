"""`pipeline remove`: takes stages out of the pipeline, with what only they used."""
