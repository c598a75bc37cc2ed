"""`pipeline sweep`: runs many experiments over a Dask cluster."""
