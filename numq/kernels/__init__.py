"""Fast kernels: arrays in, arrays out, compiled by Numba for the processor at hand.

The room knows nothing of scales as a concept or of tensors; it multiplies 8-bit matrices exactly
and takes the int32 sums back to 8 bits or to float32. Reading order: `cpu` (which instruction),
`tile` and `ir` (how code is written for it), `instructions` (what one processor has and another
lacks), `microkernel` (the loop everything else serves),
`shuffles`, `pack_a`, `pack_b` (what it reads), `loops` (what is in which cache), `direct` and
`prepacked` (the other two ways through), `epilogue` (the ways out), `entries` and `parallel` (what
is compiled), `matmul`, `fused` and `weights` (what is called). On the same tiles stand the
convolution (`conv`, `prepared`) and the weight-only products (`weight_only`, `grouped_*`,
`activations`); passes over memory are `runs`, `sweeps`, `elementwise`, `ranges` and `requantize`.
`ladder` climbs to the product in five short functions; `roof` measures what the machine could do.
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
