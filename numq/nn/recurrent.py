"""Recurrent layers, built of the engine's functions, a step of time at a time.

The input's product is one for all steps; the state's is one a step. Weights have torch's names,
shapes and order of gates.
"""

from __future__ import annotations

import numpy as np

from numq.arguments import shown
from numq.arrays import check_type
from numq.autograd import (
    Operand,
    Tensor,
    add,
    as_tensor,
    linear,
    mul,
    parameter,
    sigmoid,
    stack,
    sub,
    tanh,
)
from numq.nn.module import Module, check_sizes, uniform


class Recurrent(Module):
    """Base of LSTM and GRU: `gates` blocks of `hidden` rows in each weight.

    Attributes:
        weight_ih: (gates·hidden, inputs) float32, uniform in ±1/√hidden at first, like all.
        weight_hh: (gates·hidden, hidden).
        bias_ih: (gates·hidden,).
        bias_hh: (gates·hidden,).
        hidden: size of the state.
    """

    gates = 0

    def __init__(self, inputs: int, hidden: int, *, rng: np.random.Generator) -> None:
        """Draw the parameters from `rng`."""
        check_type(rng, np.random.Generator, "rng")
        inputs, hidden = check_sizes(inputs=inputs, hidden=hidden)
        bound, rows = 1 / np.sqrt(hidden), self.gates * hidden
        self.weight_ih = parameter(uniform(rng, bound, rows, inputs))
        self.weight_hh = parameter(uniform(rng, bound, rows, hidden))
        self.bias_ih = parameter(uniform(rng, bound, rows))
        self.bias_hh = parameter(uniform(rng, bound, rows))
        self.hidden = hidden

    def _products(self, x: Tensor) -> Tensor:
        """(N, T, in) → (N, T, gates·hidden), what the input adds to the gates of every step."""
        if x.ndim != 3 or x.shape[2] != self.weight_ih.shape[1] or x.shape[1] == 0:
            raise ValueError(
                f"x has shape {x.shape}; allowed is (N, T, {self.weight_ih.shape[1]}), T at least 1"
            )
        return linear(x, self.weight_ih, self.bias_ih)

    def _state(self, given: Operand, name: str, x: Tensor) -> Tensor:
        """A state that was given, (N, hidden) floats; anything else raises."""
        if isinstance(given, tuple | str) or given is None:
            raise TypeError(f"{name} is {shown(given)}; allowed is a Tensor (N, hidden)")
        state, needed = as_tensor(given, name=name), (x.shape[0], self.hidden)
        if state.shape != needed or state.dtype.kind != "f":
            raise ValueError(
                f"{name} has shape {state.shape}, {state.dtype}; allowed are floats of {needed}"
            )
        return state

    def _from_state(self, h: Tensor | None) -> Tensor:
        """(N, hidden) → (N, gates·hidden), what the state adds: of zeros no product."""
        return self.bias_hh if h is None else linear(h, self.weight_hh, self.bias_hh)

    def _gate(self, gates: Tensor, number: int) -> Tensor:
        """(..., gates·hidden) → (..., hidden), one block of it."""
        return gates[..., number * self.hidden : (number + 1) * self.hidden]

    def __repr__(self) -> str:
        """Sizes."""
        return f"{type(self).__name__}({self.weight_ih.shape[1]} -> {self.hidden})"


class LSTM(Recurrent):
    """Long short-term memory, one layer (Hochreiter and Schmidhuber 1997; gates as in torch).

    i, f, o = σ(…), g = tanh(…) of `W_ih·x + b_ih + W_hh·h + b_hh`, blocks in the order i, f, g, o;
    c' = f·c + i·g,  h' = o·tanh(c').
    """

    gates = 4

    def forward(
        self, x: Tensor, state: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """(N, T, inputs) → (N, T, hidden) and the last (h, c), each (N, hidden).

        Args:
            x: the sequence.
            state: (h, c) before the first step, each (N, hidden); zeros if None.

        Raises:
            TypeError: a state that is no pair.
            ValueError: x or a state of another shape.
        """
        x = as_tensor(x, name="x")
        products = self._products(x)  # (N, T, 4·hidden)
        h: Tensor | None = None
        c: Tensor | None = None
        if state is not None:
            if not isinstance(state, tuple | list) or len(state) != 2:
                raise TypeError(f"state is {shown(state)}; allowed are None and (h, c)")
            h, c = self._state(state[0], "state[0]", x), self._state(state[1], "state[1]", x)
        states = []
        for t in range(x.shape[1]):
            gates = add(products[:, t], self._from_state(h))  # (N, 4·hidden)
            i, f = sigmoid(self._gate(gates, 0)), sigmoid(self._gate(gates, 1))  # (N, hidden)
            g, o = tanh(self._gate(gates, 2)), sigmoid(self._gate(gates, 3))
            c = mul(i, g) if c is None else add(mul(f, c), mul(i, g))  # (N, hidden)
            h = mul(o, tanh(c))  # (N, hidden)
            states.append(h)
        assert h is not None  # there is at least one step
        assert c is not None
        return stack(states, axis=1), (h, c)


class GRU(Recurrent):
    """Gated recurrent unit, one layer (Cho et al. 2014, with the reset behind the product).

    r, z = σ(…), n = tanh(W_in·x + b_in + r·(W_hn·h + b_hn)), blocks in the order r, z, n;
    h' = (1 − z)·n + z·h. ONNX calls it linear_before_reset = 1.
    """

    gates = 3

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(N, T, inputs) → (N, T, hidden) and the last h, (N, hidden).

        Args:
            x: the sequence.
            state: h before the first step, (N, hidden); zeros if None.

        Raises:
            TypeError: a state that is no Tensor or array, such as the pair of an LSTM.
            ValueError: x or a state of another shape.
        """
        x = as_tensor(x, name="x")
        products = self._products(x)  # (N, T, 3·hidden)
        if isinstance(state, tuple | list | str):
            raise TypeError(f"state is {shown(state)}; allowed are None and a Tensor (N, hidden)")
        h = None if state is None else self._state(state, "state", x)
        states = []
        for t in range(x.shape[1]):
            now, before = products[:, t], self._from_state(h)  # (N, 3·hidden)
            r, z = (
                sigmoid(add(self._gate(now, k), self._gate(before, k))) for k in (0, 1)
            )  # (N, hidden) each
            n = tanh(add(self._gate(now, 2), mul(r, self._gate(before, 2))))  # (N, hidden)
            h = sub(n, mul(z, n)) if h is None else add(n, mul(z, sub(h, n)))  # (N, hidden)
            states.append(h)
        assert h is not None  # there is at least one step
        return stack(states, axis=1), h
