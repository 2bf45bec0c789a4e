"""The choices on which backends disagree when they quantize, as values with names.

    q = overflow(round(x ∘ s) ∘ z)

Divide by the scale or multiply by its reciprocal, add the zero point after or before rounding,
round ties one way or the other, saturate or not, refuse NaN or give it a code: random data hardly
ever shows the difference (1 element in a million), data on a grid of half steps often does
(1 in 8). The instances below are the rules of real backends on x86-64, each named by what it does,
with the releases in which it was seen; the next release may follow another one:

| rule | seen in | code, clipped | +1e38 | NaN |
|---|---|---|---|---|
| ONNX | the text of QuantizeLinear; numq's default | rint(x/s) + z | qmax | refused |
| ONNXRUNTIME | ONNX Runtime 1.31, 1.32 QuantizeLinear | rint(x/s) + z | qmax | qmin |
| ONNX_REFERENCE | onnx.reference 1.23 | rint(x/s) + z | qmin* | qmin* |
| TORCH_FAKE_QUANTIZE | torch 2.13 to 2.15 fake_quantize | rint(x·(1/s)) + z | qmax | qmin |
| TORCH_FAKE_QUANTIZE_PER_CHANNEL | the same per channel | rint(x·(1/s)) + z | qmin | qmin |
| TORCHAO | torchao quantize_affine, quantized_decomposed | rint(x·(1/s)) + z | qmax | 0 |
| TORCH_PER_TENSOR_FUSED_ADD_THEN_ROUND | torch 2.13 | rint(fma(x, 1/s, z)) | qmax | qmax |
| TORCH_PER_CHANNEL_ADD_THEN_ROUND | torch 2.13 | rint(x·(1/s) + z) | qmax | 0 |
| TORCH_PER_TENSOR_ROUND_THEN_ADD | torch 2.14, 2.15 | rint(x·(1/s)) + z | qmax* | qmax* |
| TORCH_PER_CHANNEL_ROUND_THEN_ADD | torch 2.14, 2.15 | rint(x·(1/s)) + z | qmax | 0 |
| LITERT_REFERENCE | LiteRT 2.3 QUANTIZE, reference kernel | half_away(x/s) + z | qmax | refused |

*: in int32, where adding the zero point may wrap to the other end. A cast of what int32 lacks gives
−2^31 and wraps with a negative zero point; a cap at 2^31 − 128 wraps with one above 127.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from numq.arrays import check_type
from numq.rounding import Overflow, Rounding, ZeroPointOrder


class ScaleOp(Enum):
    """How `x` is brought to units of the scale."""

    DIVIDE = "x / s"
    MULTIPLY_RECIPROCAL = "x · (1 / s), the reciprocal rounded to the working precision first"


class NonFinite(Enum):
    """What NaN and ±inf become. In all but RAISE, ±inf meets the overflow rule."""

    RAISE = "ValueError that says where the first one is"
    NAN_TO_QMIN = "NaN becomes the smallest code"
    NAN_TO_QMAX = "NaN becomes the largest code"
    NAN_TO_ZERO_POINT = "NaN becomes the zero point, so it reads as 0"
    NAN_TO_CODE_ZERO = "NaN becomes code 0, or the one next to it, whatever the zero point"
    NAN_AS_INFINITY = "NaN meets the overflow rule too, as +inf does"
    KEEP = "NaN becomes the NaN of a float format; formats that have none refuse it"


@dataclass(frozen=True)
class QuantizeRule:
    """One way to turn float values into codes. The defaults are ONNX QuantizeLinear's text."""

    scale_op: ScaleOp = ScaleOp.DIVIDE
    order: ZeroPointOrder = ZeroPointOrder.ROUND_THEN_ADD
    rounding: Rounding = Rounding.HALF_EVEN
    overflow: Overflow = Overflow.SATURATE
    non_finite: NonFinite = NonFinite.RAISE

    def __post_init__(self) -> None:
        """Refuse what is no choice, and the one pair that no hardware has."""
        check_type(self.scale_op, ScaleOp, "scale_op")
        check_type(self.order, ZeroPointOrder, "order")
        check_type(self.rounding, Rounding, "rounding")
        check_type(self.overflow, Overflow, "overflow")
        check_type(self.non_finite, NonFinite, "non_finite")
        fused = self.order is ZeroPointOrder.FUSED_ADD_THEN_ROUND
        if fused and self.scale_op is not ScaleOp.MULTIPLY_RECIPROCAL:
            raise ValueError(
                "order is FUSED_ADD_THEN_ROUND; allowed with it is scale_op MULTIPLY_RECIPROCAL"
            )


ONNX = QuantizeRule()
"""ONNX QuantizeLinear, numq's default: `clip(rint(x/s) + z)`, NaN and infinities refused."""

ONNXRUNTIME = QuantizeRule(non_finite=NonFinite.NAN_TO_QMIN)
"""ONNX Runtime 1.31 QuantizeLinear on x86-64: ±inf saturates, NaN becomes qmin."""

ONNX_REFERENCE = QuantizeRule(overflow=Overflow.CAST_INT32, non_finite=NonFinite.NAN_AS_INFINITY)
"""onnx.reference 1.23 QuantizeLinear casts to int32 before it clips: 3e9 and +inf become qmin."""

TORCH_FAKE_QUANTIZE = QuantizeRule(
    scale_op=ScaleOp.MULTIPLY_RECIPROCAL, non_finite=NonFinite.NAN_TO_QMIN
)
"""torch.fake_quantize_per_tensor_affine: `clip(rint(x·(1/s)) + z)`, NaN becomes qmin."""

TORCH_FAKE_QUANTIZE_PER_CHANNEL = QuantizeRule(
    scale_op=ScaleOp.MULTIPLY_RECIPROCAL,
    overflow=Overflow.CAST_INT64,
    non_finite=NonFinite.NAN_TO_QMIN,
)
"""torch.fake_quantize_per_channel_affine (2.13, CPU): the same, but 1e38 and +inf become qmin."""

TORCHAO = QuantizeRule(scale_op=ScaleOp.MULTIPLY_RECIPROCAL, non_finite=NonFinite.NAN_TO_CODE_ZERO)
"""torchao quantize_affine, quantized_decomposed: `clip(rint(x·(1/s)) + z)`, NaN is code 0."""

TORCH_PER_CHANNEL_ADD_THEN_ROUND = QuantizeRule(
    scale_op=ScaleOp.MULTIPLY_RECIPROCAL,
    order=ZeroPointOrder.ADD_THEN_ROUND,
    non_finite=NonFinite.NAN_TO_CODE_ZERO,
)
"""torch.quantize_per_channel, seen in 2.13: `clip(rint(x·(1/s) + z))`, NaN becomes code 0."""

TORCH_PER_TENSOR_FUSED_ADD_THEN_ROUND = QuantizeRule(
    scale_op=ScaleOp.MULTIPLY_RECIPROCAL,
    order=ZeroPointOrder.FUSED_ADD_THEN_ROUND,
    non_finite=NonFinite.NAN_TO_QMAX,
)
"""torch.quantize_per_tensor, seen in 2.13: `clip(rint(fma32(x, 1/s, z)))`, NaN becomes qmax."""

TORCH_PER_TENSOR_ROUND_THEN_ADD = QuantizeRule(
    scale_op=ScaleOp.MULTIPLY_RECIPROCAL,
    overflow=Overflow.CAP_CAST_INT32,
    non_finite=NonFinite.NAN_AS_INFINITY,
)
"""torch.quantize_per_tensor, seen in 2.14: `clip(wrap32(rint(min(x·(1/s), 2^31 − 128)) + z))`.

NaN is capped, too. Far out the sum wraps: below −2^31 a negative zero point gives qmax, and at the
cap one above 127 gives qmin.
"""

TORCH_PER_CHANNEL_ROUND_THEN_ADD = QuantizeRule(
    scale_op=ScaleOp.MULTIPLY_RECIPROCAL, non_finite=NonFinite.NAN_TO_CODE_ZERO
)
"""torch.quantize_per_channel, seen in 2.14, 2.15: `clip(rint(x·(1/s)) + z)`, NaN is code 0."""

LITERT_REFERENCE = QuantizeRule(rounding=Rounding.HALF_AWAY)
"""LiteRT QUANTIZE, reference kernel: `clip(round_half_away(x/s) + z)`."""
