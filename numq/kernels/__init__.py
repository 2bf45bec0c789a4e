"""Numba kernels: arrays in, arrays out. Nothing else in the package says `numba`."""
