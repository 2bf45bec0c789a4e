"""numq: neural-network quantization to read, run and trust, in NumPy and Numba.

    real_value = scale · (quantized_value − zero_point)

>>> import numpy as np, numq as nq
>>> w = np.array([[0.25, -1.0], [0.02, 0.005]], np.float32)
>>> q = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(w)
>>> q
QTensor(shape (2, 2), 12 bytes, 1.33x smaller than float32
  QParams(int8, PerChannel(axis=0), scale (2,) in 0.00015748…0.00787402, zero_point (2,) = 0, \
covers [-1.00787, 1])
  codes 32, -127, 127, 32)
>>> q.dequantize()
array([[ 0.2519685 , -1.        ],
       [ 0.02      ,  0.00503937]], dtype=float32)

Where things are, from the ground up:

numbers      formats, rounding, bits, packing
kernels      kernels: the integer product, convolution and passes over memory, compiled
parameters   granularity, scales, qparams, rules, fixedpoint
tensors      qtensor, observers, metrics
quantizers   AffineQuantizer, SymmetricQuantizer
integers     integer: Linear three ways; convolution, addition, pooling, tables on codes
training     autograd, nn, optim, data, mixed
one graph    graph: recorded from a network that ran; runs, trains, prints, is saved
QAT          qat: estimators of the gradient through rounding
flows        weight_only, dynamic, static, prepare_qat; compare tells the layers apart
pictures     plot: `from numq import plot`, with matplotlib (extra `notebooks`)
doors        the command line `numq` (demo, inspect, bench), `experiments`, and `verify.oracle`
"""

from numq import (
    autograd,
    data,
    flows,
    graph,
    integer,
    kernels,
    mixed,
    nn,
    optim,
    qat,
    rules,
    scales,
)
from numq.bits import inspect_code, inspect_float, inspect_int, inspect_table
from numq.fixedpoint import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    saturating_rounding_doubling_high_mul,
)
from numq.formats import (
    BFLOAT16,
    FLOAT4_E2M1,
    FLOAT6_E2M3,
    FLOAT6_E3M2,
    FLOAT8_E3M4,
    FLOAT8_E4M3,
    FLOAT8_E4M3B11FNUZ,
    FLOAT8_E4M3FN,
    FLOAT8_E4M3FNUZ,
    FLOAT8_E5M2,
    FLOAT8_E5M2FNUZ,
    FLOAT8_E8M0FNU,
    FLOAT16,
    FLOAT32,
    FLOAT64,
    INT2,
    INT3,
    INT4,
    INT5,
    INT6,
    INT7,
    INT8,
    INT16,
    INT32,
    NF4,
    UINT2,
    UINT3,
    UINT4,
    UINT5,
    UINT6,
    UINT7,
    UINT8,
    UINT16,
    FloatFormat,
    Format,
    IntFormat,
    TableFormat,
    format_named,
)
from numq.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from numq.integer.accumulate import accumulate, accumulate_naive, matmul_int8, max_depth
from numq.integer.convolve import conv2d_int8
from numq.integer.requantize import (
    Requantizer,
    prepare_requantizer,
    requantize,
)
from numq.kernels import (
    Isa,
    Layout,
    PackedConvWeight,
    PackedWeight,
    pack_conv_weight,
    pack_weight,
)
from numq.metrics import ErrorReport, error_report, sqnr_db
from numq.observers import (
    MinMaxObserver,
    MovingAverageObserver,
    MSEObserver,
    Observer,
    PercentileObserver,
)
from numq.packing import PackOrder, pack, unpack
from numq.qparams import QParams, choose_qparams
from numq.qtensor import QTensor, dequantize, fake_quantize, quantize
from numq.quantizers import AffineQuantizer, Quantizer, SymmetricQuantizer
from numq.requantization import Multiplier, Requantization
from numq.rounding import Overflow, Rounding, ZeroPointOrder, round_values
from numq.rules import NonFinite, QuantizeRule, ScaleOp
from numq.scales import (
    Affine,
    ScaleFloor,
    ScaleFormat,
    Symmetric,
    SymmetricRange,
    Target,
    ZeroPointRule,
)

__version__ = "0.1.0"

__all__ = [
    "BFLOAT16",
    "FLOAT4_E2M1",
    "FLOAT6_E2M3",
    "FLOAT6_E3M2",
    "FLOAT8_E3M4",
    "FLOAT8_E4M3",
    "FLOAT8_E4M3B11FNUZ",
    "FLOAT8_E4M3FN",
    "FLOAT8_E4M3FNUZ",
    "FLOAT8_E5M2",
    "FLOAT8_E5M2FNUZ",
    "FLOAT8_E8M0FNU",
    "FLOAT16",
    "FLOAT32",
    "FLOAT64",
    "INT2",
    "INT3",
    "INT4",
    "INT5",
    "INT6",
    "INT7",
    "INT8",
    "INT16",
    "INT32",
    "NF4",
    "UINT2",
    "UINT3",
    "UINT4",
    "UINT5",
    "UINT6",
    "UINT7",
    "UINT8",
    "UINT16",
    "Affine",
    "AffineQuantizer",
    "ErrorReport",
    "FloatFormat",
    "Format",
    "IntFormat",
    "Isa",
    "Layout",
    "MSEObserver",
    "MinMaxObserver",
    "MovingAverageObserver",
    "Multiplier",
    "NonFinite",
    "Observer",
    "Overflow",
    "PackOrder",
    "PackedConvWeight",
    "PackedWeight",
    "PerBlock",
    "PerChannel",
    "PerGroup",
    "PerTensor",
    "PerToken",
    "PercentileObserver",
    "QParams",
    "QTensor",
    "QuantizeRule",
    "Quantizer",
    "Requantization",
    "Requantizer",
    "Rounding",
    "ScaleFloor",
    "ScaleFormat",
    "ScaleOp",
    "Symmetric",
    "SymmetricQuantizer",
    "SymmetricRange",
    "TableFormat",
    "Target",
    "ZeroPointOrder",
    "ZeroPointRule",
    "accumulate",
    "accumulate_naive",
    "autograd",
    "choose_qparams",
    "conv2d_int8",
    "data",
    "dequantize",
    "error_report",
    "fake_quantize",
    "flows",
    "format_named",
    "graph",
    "inspect_code",
    "inspect_float",
    "inspect_int",
    "inspect_table",
    "integer",
    "kernels",
    "matmul_int8",
    "max_depth",
    "mixed",
    "multiply_by_quantized_multiplier",
    "nn",
    "optim",
    "pack",
    "pack_conv_weight",
    "pack_weight",
    "prepare_requantizer",
    "qat",
    "quantize",
    "quantize_multiplier",
    "requantize",
    "round_values",
    "rounding_divide_by_pot",
    "rules",
    "saturating_rounding_doubling_high_mul",
    "scales",
    "sqnr_db",
    "unpack",
]


def __dir__() -> list[str]:
    """The public face: what `__all__` names, and nothing that is only imported on the way."""
    return sorted(
        [*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"]
    )
