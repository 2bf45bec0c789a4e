"""Float32 activations times weights of 4 or 8 bits with a scale for each group along K.

Reading order: `weight_only` (the products), `weights` (how a weight is packed), `activations` (how
rows are quantized for integer products), `panel` (the vector code).
"""
