"""Float32 activations times weights of 4 or 8 bits with a scale for each group along K."""
