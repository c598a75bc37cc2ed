"""`pipeline run`: executes a stage and observes what it touches."""
