"""One pass over memory: quantize, dequantize, ranges, requantization.

Reading order: `elementwise` (codes and back), `ranges` (minimum and maximum), `rows` (each row by
its own range), `requantize` and `special` (erf); `runs` and `extremes` are the vector code of one
run of neighbours, `sharing` what the passes have in common.
"""
