"""`pipeline rename`: gives a stage and all that bears its name another name."""
