"""Fast kernels: arrays in, arrays out, compiled by Numba for the processor at hand.

The room knows nothing of scales as a concept or of tensors; it multiplies 8-bit matrices exactly
and takes the int32 sums back to codes or to float32. At the door stand `ladder` (from three nested
loops to the speed of the hardware in six functions), `reference` (what every kernel computes, in
NumPy), `operands` (every check there is) and `roof` (what the machine could do at most). Inside:

machine      what code is written for. `cpu` (which instruction set), `tile` (its register tile),
             `instructions` (what one processor has and another emulates), `ir` and `shuffles`
             (vector code), `jit`, `cache` and `numba_private` (Numba), `parallel` and `workspace`.
product      the exact product. `microkernel` (the loop that everything else serves), `pack_a` and
             `pack_b` (the order in which it reads), `loops` (what is in which cache), `direct`
             (too few rows to pack B for), `walk` (past a packed B), `zeros` (zero points and bias,
             folded), `rules`, `epilogue` and `ways` (out of int32), `entries` (what is compiled),
             `prepared` (checked once, then only run), and to call: `matmul`, `fused`, `weights`.
convolution  the product with another way of packing: `columns` (NCHW), `rows` (NHWC), `depthwise`;
             `prepared`, and to call: `conv`, `weights`.
grouped      weight-only products: 4- and 8-bit weights with a scale per group, dequantized on the
             way (`weight_only`).
passes       over memory, at its speed: quantize and dequantize (`elementwise`), ranges
             (`ranges`), `requantize`, and `special` functions.
"""

from numq.kernels.convolution.conv import conv2d_dequantized, conv2d_integers, conv2d_requantized
from numq.kernels.convolution.prepared import PreparedConv, prepare_conv2d
from numq.kernels.convolution.shape import Layout
from numq.kernels.convolution.weights import PackedConvWeight, pack_conv_weight
from numq.kernels.machine.cpu import Isa, available, uses_kernels
from numq.kernels.machine.jit import get_threads, jit_enabled, set_threads
from numq.kernels.product.fused import matmul_dequantized, matmul_integers, matmul_requantized
from numq.kernels.product.matmul import matmul
from numq.kernels.product.weights import PackedWeight, pack_weight

__all__ = [
    "Isa",
    "Layout",
    "PackedConvWeight",
    "PackedWeight",
    "PreparedConv",
    "available",
    "conv2d_dequantized",
    "conv2d_integers",
    "conv2d_requantized",
    "get_threads",
    "jit_enabled",
    "matmul",
    "matmul_dequantized",
    "matmul_integers",
    "matmul_requantized",
    "pack_conv_weight",
    "pack_weight",
    "prepare_conv2d",
    "set_threads",
    "uses_kernels",
]
