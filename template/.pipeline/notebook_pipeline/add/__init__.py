"""`pipeline add`: makes a stage of a notebook."""
