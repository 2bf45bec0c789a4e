"""Checks of others' arithmetic, and the oracle that ours is held to."""
