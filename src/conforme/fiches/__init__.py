"""Sales files: the cache by section and its refresh policy."""
