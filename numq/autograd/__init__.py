"""Automatic differentiation over NumPy: each backward beside its forward.

Reading order: `tape`, `tensor`, `broadcasting`, `arithmetic`,
`elementwise`, `reductions`, `shaping`, `indexing`, `softmax`, `windows`,
`convolution`, `pooling`, `normalization`; `operators` gives the functions
their signs.
"""

from numq.autograd import operators as operators
from numq.autograd.arithmetic import add, div, linear, matmul, mul, neg, power, sub
from numq.autograd.convolution import conv2d
from numq.autograd.elementwise import (
    GeluForm,
    absolute,
    clip,
    erf,
    exp,
    gelu,
    greater,
    leaky_relu,
    less,
    log,
    maximum,
    minimum,
    relu,
    sigmoid,
    sqrt,
    tanh,
    where,
)
from numq.autograd.gradcheck import gradcheck
from numq.autograd.indexing import gather, index
from numq.autograd.normalization import batch_norm, batch_norm_train, layer_norm
from numq.autograd.pooling import avg_pool2d, global_avg_pool2d, max_pool2d
from numq.autograd.reductions import argmax, max, mean, min, sum
from numq.autograd.shaping import (
    broadcast_to,
    concat,
    flatten,
    pad,
    reshape,
    squeeze,
    stack,
    transpose,
    unsqueeze,
)
from numq.autograd.softmax import cross_entropy, log_softmax, mse_loss, softmax
from numq.autograd.tape import GradientError, no_grad, tracing
from numq.autograd.tensor import Operand, Tensor, as_tensor, parameter, record

__all__ = [
    "GeluForm",
    "GradientError",
    "Operand",
    "Tensor",
    "absolute",
    "add",
    "argmax",
    "as_tensor",
    "avg_pool2d",
    "batch_norm",
    "batch_norm_train",
    "broadcast_to",
    "clip",
    "concat",
    "conv2d",
    "cross_entropy",
    "div",
    "erf",
    "exp",
    "flatten",
    "gather",
    "gelu",
    "global_avg_pool2d",
    "gradcheck",
    "greater",
    "index",
    "layer_norm",
    "leaky_relu",
    "less",
    "linear",
    "log",
    "log_softmax",
    "matmul",
    "max",
    "max_pool2d",
    "maximum",
    "mean",
    "min",
    "minimum",
    "mse_loss",
    "mul",
    "neg",
    "no_grad",
    "pad",
    "parameter",
    "power",
    "record",
    "relu",
    "reshape",
    "sigmoid",
    "softmax",
    "sqrt",
    "squeeze",
    "stack",
    "sub",
    "sum",
    "tanh",
    "tracing",
    "transpose",
    "unsqueeze",
    "where",
]
