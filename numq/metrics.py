"""How far a quantized tensor is from the original, in the units people use."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from numq.arrays import FloatArray, as_float, check_finite, check_type
from numq.granularity import expand
from numq.qtensor import QTensor, dequantize


def sqnr_db(signal: ArrayLike, approximation: ArrayLike) -> float:
    """Signal-to-quantization-noise ratio, `10·log10(Σ signal² / Σ (signal − approximation)²)` dB.

    +inf if nothing differs (also for empty or all-zero arrays that agree), −inf if a zero signal
    comes back different.

    Raises:
        ValueError: shapes that differ, NaN or infinity in either.
    """
    x, y = as_float(signal, "signal"), as_float(approximation, "approximation")
    if x.shape != y.shape:
        raise ValueError(
            f"signal has shape {x.shape}, approximation {y.shape}; allowed is one shape"
        )
    check_finite(x, "signal")
    check_finite(y, "approximation")
    x, y = x.astype(np.float64), y.astype(np.float64)
    power = max(float(np.abs(x).max(initial=0)), float(np.abs(y).max(initial=0))) or 1.0
    noise = float(np.sum(np.square(x / power - y / power)))
    with np.errstate(divide="ignore"):
        return float(
            10 * (np.log10(np.sum(np.square(x / power))) - np.log10(noise)) if noise else np.inf
        )


@dataclass(frozen=True)
class ErrorReport:
    """What quantization did to a tensor.

    Attributes:
        max_abs: largest absolute error, in the data's unit.
        mean_abs: mean absolute error.
        sqnr_db: signal-to-quantization-noise ratio in dB.
        saturated: share of elements, 0…1, that lie beyond the last code by more than half a step
            (of floats and tables: of the outermost one).
    """

    max_abs: float
    mean_abs: float
    sqnr_db: float
    saturated: float

    def __repr__(self) -> str:
        """One line with units."""
        return (
            f"ErrorReport(max |error| {self.max_abs:.4g}, mean |error| {self.mean_abs:.4g}, "
            f"SQNR {self.sqnr_db:.2f} dB, saturated {self.saturated:.2%})"
        )


def error_report(x: ArrayLike, q: QTensor) -> ErrorReport:
    """Compare `x` with what the codes `q` stand for; shapes must be equal, `x` finite."""
    check_type(q, QTensor, "q")
    x = as_float(x, "x")
    check_finite(x, "x")
    if x.shape != q.shape:
        raise ValueError(f"x has shape {x.shape}, q {q.shape}; allowed is one shape")
    wide = x.astype(np.float64)
    error = np.abs(wide - dequantize(q, np.float64))
    mean_abs = float(error.mean()) if error.size else 0.0
    ratio = sqnr_db(x, dequantize(q, np.float64))
    return ErrorReport(float(error.max(initial=0)), mean_abs, ratio, _saturated(wide, q))


def _saturated(x: FloatArray, q: QTensor) -> float:
    """Share of elements more than half a step outside the range of the codes."""
    low, high = (expand(end, q.granularity, q.shape) for end in q.qparams.range)
    scale = expand(q.scale, q.granularity, q.shape).astype(np.float64)
    below, above = (np.abs(scale) * step / 2 for step in q.format.end_steps)
    outside = (x < low - np.where(scale < 0, above, below)) | (
        x > high + np.where(scale < 0, below, above)
    )
    return float(outside.mean()) if outside.size else 0.0
