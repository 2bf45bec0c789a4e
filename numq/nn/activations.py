"""Layers without parameters: activations, dropout, flattening."""

from __future__ import annotations

from copy import deepcopy

import numpy as np

from numq.arguments import number
from numq.arrays import check_type
from numq.autograd import (
    GeluForm,
    Tensor,
    as_tensor,
    flatten,
    gelu,
    leaky_relu,
    mul,
    relu,
    sigmoid,
    softmax,
    tanh,
)
from numq.autograd.operands import floating
from numq.autograd.tape import keeps_dropout
from numq.autograd.tensor import record
from numq.nn.module import Module


class ReLU(Module):
    """`max(x, 0)`."""

    def forward(self, x: Tensor) -> Tensor:
        """`max(x, 0)`."""
        return relu(as_tensor(x, name="x"))

    def __repr__(self) -> str:
        """The name."""
        return "ReLU()"


class LeakyReLU(Module):
    """`x` above 0, `alpha·x` up to it."""

    def __init__(self, alpha: float = 0.01) -> None:
        """Keep the slope."""
        self.alpha = number(alpha, "alpha")

    def forward(self, x: Tensor) -> Tensor:
        """`max(x, alpha·x)` for alpha below 1."""
        return leaky_relu(as_tensor(x, name="x"), self.alpha)


class GELU(Module):
    """`x·Φ(x)`."""

    def __init__(self, form: GeluForm = GeluForm.ERF) -> None:
        """Exactly, or by tanh."""
        check_type(form, GeluForm, "form")
        self.form = form

    def forward(self, x: Tensor) -> Tensor:
        """`x·Φ(x)`."""
        return gelu(as_tensor(x, name="x"), form=self.form)


class SiLU(Module):
    """`x·sigmoid(x)`, also called swish."""

    def forward(self, x: Tensor) -> Tensor:
        """`x·sigmoid(x)`."""
        x = as_tensor(x, name="x")
        return mul(x, sigmoid(x))


class Sigmoid(Module):
    """`1 / (1 + e⁻ˣ)`."""

    def forward(self, x: Tensor) -> Tensor:
        """In [0, 1]."""
        return sigmoid(as_tensor(x, name="x"))


class Tanh(Module):
    """Hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        """In [−1, 1]."""
        return tanh(as_tensor(x, name="x"))


class Softmax(Module):
    """Softmax over the last axis."""

    def forward(self, x: Tensor) -> Tensor:
        """In [0, 1], summing to 1."""
        return softmax(as_tensor(x, name="x"))


class Flatten(Module):
    """(N, ...) → (N, everything else)."""

    def forward(self, x: Tensor) -> Tensor:
        """One row an example."""
        return flatten(as_tensor(x, name="x"))

    def __repr__(self) -> str:
        """The name."""
        return "Flatten()"


class Dropout(Module):
    """In training each value is dropped with probability p, the others are scaled by 1/(1 − p).

    Srivastava et al. 2014, in the inverted form; in evaluation nothing happens.
    """

    def __init__(self, p: float, *, rng: np.random.Generator) -> None:
        """Keep the share to drop, in [0, 1), and where randomness comes from."""
        check_type(rng, np.random.Generator, "rng")
        self.p, self.rng = number(p, "p", least=0, below=1), rng

    def forward(self, x: Tensor) -> Tensor:
        """The values that are left; TypeError for integers."""
        x = floating(x, "x")
        if self.p == 0:
            return x
        if not self.training:
            return self._noted(x) if keeps_dropout() and not self.resting else x
        kept = self.rng.random(x.shape, np.float32) >= self.p
        return mul(x, Tensor((kept / (1 - self.p)).astype(x.dtype)))

    def _noted(self, x: Tensor) -> Tensor:
        """`x` as it is, with a note on the tape; the generator stays where it was."""
        seed = int(deepcopy(self.rng).integers(2**31))
        return record("Dropout", (x,), x.data, lambda g: (g,), ratio=float(self.p), seed=seed)
