"""Measurements of the product by itself: `python -m bench [section ...]`."""
