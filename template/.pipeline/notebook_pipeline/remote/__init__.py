"""Data and results: brought from DVC's remote, and kept beside what git checks out."""
