"""Fast kernels: arrays in, arrays out, compiled for the processor at hand.

They know nothing of scales as a concept or of tensors: 8-bit matrices are
multiplied exactly, and the int32 sums are taken back to codes or to
float32. The rooms, each with a reading order at its own door
(`help(numq.kernels.product)`):

    machine      instruction sets, Numba, vector code, threads, memory
    product      register tile, packing, the walk, the ways out of int32
    convolution  the product with patches packed as rows; depthwise
    grouped      float32 times weights of 4 or 8 bits, a scale per group
    passes       once over memory: quantize, dequantize, ranges

At the door stand `ladder` (from three nested loops to the speed of the
hardware in six functions), `reference` (what every kernel computes, in
NumPy), `operands` (every check there is) and `roof` (what the machine could
do at most). What runs often is prepared once: see `product.prepared` and
`convolution.prepared`.
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
