"""Neural-network quantization to read, run and trust: NumPy and Numba.

    real_value = scale · (quantized_value − zero_point)

>>> import numpy as np, numq as nq
>>> w = np.array([[0.25, -1.0], [0.02, 0.005]], np.float32)
>>> q = nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0))(w)
>>> q.codes
array([[  32, -127],
       [ 127,   32]], dtype=int8)
>>> q.dequantize()
array([[ 0.2519685 , -1.        ],
       [ 0.02      ,  0.00503937]], dtype=float32)

The names below stand in the order in which a learner meets them. Arrays are
positional, choices are keywords; a call gives the right answer, or an error
that says what came and what is allowed.

NUMBERS: what a code may be, and how a real number becomes one
  integers            INT2 INT3 INT4 INT5 INT6 INT7 INT8 INT16 INT32 UINT2
                      UINT3 UINT4 UINT5 UINT6 UINT7 UINT8 UINT16
  floats              FLOAT64 FLOAT32 FLOAT16 BFLOAT16
  small floats        FLOAT8_E5M2 FLOAT8_E4M3FN FLOAT8_E4M3 FLOAT8_E3M4
                      FLOAT8_E5M2FNUZ FLOAT8_E4M3FNUZ FLOAT8_E4M3B11FNUZ
                      FLOAT8_E8M0FNU FLOAT6_E3M2 FLOAT6_E2M3 FLOAT4_E2M1
  tables of values    NF4
  what these are      Format IntFormat FloatFormat Specials TableFormat
                      format_named
  bit by bit          inspect_float inspect_int inspect_table inspect_code
  ties                Rounding round_values
  what does not fit   Overflow
  below 8 bits        pack unpack PackOrder

PARAMETERS: which elements share a scale, and how it is chosen
  granularity         PerTensor PerChannel PerToken PerGroup PerBlock
  schemes             Affine Symmetric Offset SymmetricRange ZeroPointRule
  scales              ScaleFloor Target scales
  chosen              QParams choose_qparams
  rules of backends   QuantizeRule ScaleOp ZeroPointOrder NonFinite rules

TENSORS AND QUANTIZERS: arrays of codes with their meaning
  there and back      QTensor quantize dequantize fake_quantize
  from data to range  MinMaxObserver MovingAverageObserver
                      PercentileObserver MSEObserver Observer
  all in one value    AffineQuantizer SymmetricQuantizer OffsetQuantizer
                      Quantizer
  in a file           save_tensors load_tensors
  what was lost       ErrorReport error_report sqnr_db

PRODUCTS: integers in, integers out
  exact int32 sums    matmul_int8 max_depth accumulate conv2d_int8
  laid out once       PackedWeight pack_weight PackedConvWeight
                      pack_conv_weight Layout
  how so fast         Isa kernels
  from sums to codes  Requantization Multiplier Requantizer
                      prepare_requantizer requantize
  in fixed point      quantize_multiplier multiply_by_quantized_multiplier
                      saturating_rounding_doubling_high_mul
                      rounding_divide_by_pot rounding_shift_right
  layers on codes     integer

TRAINING: networks, with quantization in them or without
  a small engine      autograd nn optim data
  in float16          mixed
  through rounding    qat

FLOWS: from a float network to one of integers
  recorded            graph
  quantized           flows

DOORS: to the world outside
  pictures            from numq import plot: bit fields, rooflines, more
  a command           numq inspect, numq demo, numq bench
  what is right       numq.verify.oracle, in integers and fractions
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
from numq.choose import choose_qparams
from numq.fixedpoint import (
    multiply_by_quantized_multiplier,
    quantize_multiplier,
    rounding_divide_by_pot,
    rounding_shift_right,
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
    Specials,
    TableFormat,
    format_named,
)
from numq.granularity import PerBlock, PerChannel, PerGroup, PerTensor, PerToken
from numq.integer.accumulate import accumulate, matmul_int8, max_depth
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
from numq.qparams import QParams
from numq.qtensor import QTensor, dequantize, fake_quantize, quantize
from numq.quantizers import AffineQuantizer, OffsetQuantizer, Quantizer, SymmetricQuantizer
from numq.requantization import Multiplier, Requantization
from numq.rounding import Overflow, Rounding, ZeroPointOrder, round_values
from numq.rules import NonFinite, QuantizeRule, ScaleOp
from numq.scales import (
    Affine,
    Offset,
    ScaleFloor,
    Symmetric,
    SymmetricRange,
    Target,
    ZeroPointRule,
)
from numq.tensorfile import load_tensors, save_tensors

__version__ = "0.1.0"

__all__ = [  # in the order in which a learner meets them
    # numbers
    "INT2",
    "INT3",
    "INT4",
    "INT5",
    "INT6",
    "INT7",
    "INT8",
    "INT16",
    "INT32",
    "UINT2",
    "UINT3",
    "UINT4",
    "UINT5",
    "UINT6",
    "UINT7",
    "UINT8",
    "UINT16",
    "FLOAT64",
    "FLOAT32",
    "FLOAT16",
    "BFLOAT16",
    "FLOAT8_E5M2",
    "FLOAT8_E4M3FN",
    "FLOAT8_E4M3",
    "FLOAT8_E3M4",
    "FLOAT8_E5M2FNUZ",
    "FLOAT8_E4M3FNUZ",
    "FLOAT8_E4M3B11FNUZ",
    "FLOAT8_E8M0FNU",
    "FLOAT6_E3M2",
    "FLOAT6_E2M3",
    "FLOAT4_E2M1",
    "NF4",
    "Format",
    "IntFormat",
    "FloatFormat",
    "Specials",
    "TableFormat",
    "format_named",
    "inspect_float",
    "inspect_int",
    "inspect_table",
    "inspect_code",
    "Rounding",
    "round_values",
    "Overflow",
    "pack",
    "unpack",
    "PackOrder",
    # parameters
    "PerTensor",
    "PerChannel",
    "PerToken",
    "PerGroup",
    "PerBlock",
    "Affine",
    "Symmetric",
    "Offset",
    "SymmetricRange",
    "ZeroPointRule",
    "ScaleFloor",
    "Target",
    "scales",
    "QParams",
    "choose_qparams",
    "QuantizeRule",
    "ScaleOp",
    "ZeroPointOrder",
    "NonFinite",
    "rules",
    # tensors and quantizers
    "QTensor",
    "quantize",
    "dequantize",
    "fake_quantize",
    "MinMaxObserver",
    "MovingAverageObserver",
    "PercentileObserver",
    "MSEObserver",
    "Observer",
    "AffineQuantizer",
    "SymmetricQuantizer",
    "OffsetQuantizer",
    "Quantizer",
    "save_tensors",
    "load_tensors",
    "ErrorReport",
    "error_report",
    "sqnr_db",
    # products
    "matmul_int8",
    "max_depth",
    "accumulate",
    "conv2d_int8",
    "PackedWeight",
    "pack_weight",
    "PackedConvWeight",
    "pack_conv_weight",
    "Layout",
    "Isa",
    "kernels",
    "Requantization",
    "Multiplier",
    "Requantizer",
    "prepare_requantizer",
    "requantize",
    "quantize_multiplier",
    "multiply_by_quantized_multiplier",
    "saturating_rounding_doubling_high_mul",
    "rounding_divide_by_pot",
    "rounding_shift_right",
    "integer",
    # training
    "autograd",
    "nn",
    "optim",
    "data",
    "mixed",
    "qat",
    # flows
    "graph",
    "flows",
]


def __dir__() -> list[str]:
    """The public face: what `__all__` names, and nothing that is only imported on the way."""
    return sorted(
        [*__all__, "__all__", "__doc__", "__file__", "__name__", "__path__", "__version__"]
    )
