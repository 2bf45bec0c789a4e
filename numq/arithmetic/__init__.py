"""Integer arithmetic: int32 accumulators, and the ways back from them to 8 bits."""
