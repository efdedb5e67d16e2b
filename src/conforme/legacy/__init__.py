"""Takes over the database of the original: read once, in batches that can be cut off, and checked afterwards."""
