"""One pass over memory: quantize, dequantize, ranges, requantization."""
