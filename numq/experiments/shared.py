"""What both experiments share: quantizers by their bits, a network as a function of arrays."""

from __future__ import annotations

from collections.abc import Callable

from numq.arrays import FloatArray
from numq.autograd import Tensor, no_grad
from numq.formats import IntFormat
from numq.granularity import PerChannel, PerGroup, PerTensor
from numq.observers import MinMaxObserver, MSEObserver, Observer
from numq.quantizers import AffineQuantizer, SymmetricQuantizer

Forward = Callable[[FloatArray], FloatArray]

STEPS = 20  #: of an epoch: batches of 50 among the 1000 examples to train on


def weights(bits: int, granularity: PerChannel | PerGroup) -> SymmetricQuantizer:
    """Of weights with so many bits."""
    return SymmetricQuantizer(IntFormat(bits), granularity, observer=_observer(bits))


def activations(bits: int) -> AffineQuantizer:
    """Of activations whose range is calibrated."""
    return AffineQuantizer(IntFormat(bits), PerTensor(), observer=_observer(bits))


def _observer(bits: int) -> Observer:
    """At 8 bits nothing needs to clip; below, the best range is narrower than the data."""
    return MinMaxObserver() if bits >= 8 else MSEObserver()


def float_forward(model: Callable[..., Tensor]) -> Forward:
    """The model as a function of arrays, recording nothing."""

    def run(x: FloatArray) -> FloatArray:
        with no_grad():
            logits: FloatArray = model(Tensor(x)).data
            return logits

    return run


def widths(weights: int, activations: int) -> str:
    """`w4a8`; what is float32 is left out."""
    letters = (("w", weights), ("a", activations))
    return "".join(f"{letter}{bits}" for letter, bits in letters if bits < 32)
