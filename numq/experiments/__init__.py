"""Experiments that the README quotes: the demo, its results, and the report on them."""
