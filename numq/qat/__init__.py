"""Quantization-aware training: rounding forward, a gradient backward."""

from numq.qat.learned import lsq, lsq_initial_scale, lsq_plus, pact
from numq.qat.low_bit import (
    binary_activations,
    binary_weights,
    dorefa_activations,
    dorefa_weights,
    quantize_k,
    ternary_weights,
)
from numq.qat.straight_through import Mask, fake_quantize_ste, fake_quantize_stochastic

__all__ = [
    "Mask",
    "binary_activations",
    "binary_weights",
    "dorefa_activations",
    "dorefa_weights",
    "fake_quantize_ste",
    "fake_quantize_stochastic",
    "lsq",
    "lsq_initial_scale",
    "lsq_plus",
    "pact",
    "quantize_k",
    "ternary_weights",
]
