"""`pipeline split NOTEBOOK`: makes several stages of a notebook that is one."""
