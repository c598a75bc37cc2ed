"""`pipeline setup`: turns a new clone or copy into a working checkout."""
