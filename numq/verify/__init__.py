"""Checks of other people's arithmetic, and the oracle that ours is checked against."""
