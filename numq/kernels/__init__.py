"""Fast kernels: arrays in, arrays out, compiled by Numba for the processor at hand.

The room knows nothing of scales as a concept or of tensors; it multiplies 8-bit matrices exactly
and takes the int32 sums back to 8 bits or to float32. Reading order: `cpu` (which instruction),
`tile` and `ir` (how code is written for it), `microkernel` (the loop everything else serves),
`shuffles`, `pack_a`, `pack_b` (what it reads), `loops` (what is in which cache), `direct` and
`prepacked` (the other two ways through), `epilogue` (the ways out), `entries` and `parallel` (what
is compiled), `matmul`, `fused` and `weights` (what is called).
"""

from numq.kernels.cpu import Isa, available
from numq.kernels.fused import matmul_dequantized, matmul_integers, matmul_requantized
from numq.kernels.jit import get_threads, jit_enabled, set_threads
from numq.kernels.matmul import matmul
from numq.kernels.weights import PackedWeight, pack_weight

__all__ = [
    "Isa",
    "PackedWeight",
    "available",
    "get_threads",
    "jit_enabled",
    "matmul",
    "matmul_dequantized",
    "matmul_integers",
    "matmul_requantized",
    "pack_weight",
    "set_threads",
]
