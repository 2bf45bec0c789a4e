"""The exact product of 8-bit matrices, and its ways out of int32.

Reading order: `microkernel` (the loop that all else serves), `pack_a` and `pack_b` (the order
in which it reads), `loops` (what is in which cache), `direct` (too few rows to pack B for), `walk`
(past a packed B); `zeros` (zero points and bias, folded), `rules`, `epilogue` and `ways` (out of
int32); `entries` (what is compiled), `weights` and `prepared` (checked once, then only run), and
what is called: `matmul`, `fused`.
"""
