"""One notebook: its cells, parameters, comparable code and executed copy. Knows nothing of DVC."""
