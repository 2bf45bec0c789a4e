"""Multi-head attention (Vaswani et al. 2017)."""

from __future__ import annotations

import numpy as np

from numq.arrays import check_type
from numq.autograd import (
    Operand,
    Tensor,
    as_tensor,
    matmul,
    mul,
    reshape,
    softmax,
    transpose,
    where,
)
from numq.nn.linear import Linear
from numq.nn.module import Module, check_sizes


class MultiheadAttention(Module):
    """`softmax(Q·Kᵀ/√d)·V` in several heads of d = embed / heads features each.

    Attributes:
        query: Linear(embed, embed), and so `key`, `value` and `out`.
        heads: how many parts the features are split into.
    """

    def __init__(self, embed: int, heads: int, *, rng: np.random.Generator) -> None:
        """Draw the parameters from `rng`."""
        check_type(rng, np.random.Generator, "rng")
        embed, heads = check_sizes(embed=embed, heads=heads)
        if embed % heads:
            raise ValueError(f"heads is {heads}; allowed are divisors of embed, {embed}")
        self.heads = heads
        self.query, self.key, self.value, self.out = (
            Linear(embed, embed, rng=rng) for _ in range(4)
        )

    def forward(
        self, x: Tensor, memory: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """(N, T, embed) → (N, T, embed).

        Args:
            x: what asks.
            memory: (N, S, embed), what is asked; x itself if None.
            mask: bools that broadcast to (N, heads, T, S), True where looking is allowed; each row
                allows something. `causal_mask(T)` lets no position look ahead.

        Raises:
            TypeError: a mask that is not of bools.
            ValueError: shapes that do not fit, or a mask with a row that allows nothing.
        """
        x = as_tensor(x, name="x")
        source = x if memory is None else as_tensor(memory, name="memory")
        self._check(x, source)
        q = self._split(self.query(x))  # (N, heads, T, d)
        k = self._split(self.key(source))  # (N, heads, S, d)
        v = self._split(self.value(source))  # (N, heads, S, d)
        scores = mul(
            matmul(q, transpose(k)), (x.shape[2] // self.heads) ** -0.5
        )  # (N, heads, T, S)
        if mask is not None:
            scores = where(_allowed(mask, scores), scores, as_tensor(-np.inf, scores))
        mixed = matmul(softmax(scores), v)  # (N, heads, T, d)
        joined = reshape(transpose(mixed, (0, 2, 1, 3)), (-1, *x.shape[1:]))  # (N, T, embed)
        out: Tensor = self.out(joined)
        return out

    def _check(self, x: Tensor, source: Tensor) -> None:
        embed = self.query.weight.shape[1]
        fits = x.ndim == source.ndim == 3 and x.shape[2] == source.shape[2] == embed
        if not fits or x.shape[0] != source.shape[0] or source.shape[1] == 0:
            raise ValueError(
                f"x has shape {x.shape}, memory {source.shape}; allowed are (N, T, {embed}) and "
                f"(N, S, {embed}), S at least 1"
            )

    def _split(self, x: Tensor) -> Tensor:
        """(N, T, embed) → (N, heads, T, d)."""
        parts = reshape(x, (-1, x.shape[1], self.heads, x.shape[2] // self.heads))
        return transpose(parts, (0, 2, 1, 3))


def _allowed(mask: Operand, scores: Tensor) -> Tensor:
    """The mask, if it is one of bools that fits the scores and leaves something in each row."""
    made = as_tensor(mask, name="mask")
    if made.dtype != np.bool_:
        raise TypeError(f"mask has dtype {made.dtype}; allowed is bool, True where looking is")
    try:
        full = np.broadcast_to(made.data, scores.shape)
    except ValueError:
        raise ValueError(
            f"mask has shape {made.shape}; allowed is what broadcasts to {scores.shape}, the "
            "scores' (N, heads, T, S)"
        ) from None
    if not full.any(axis=-1).all():
        raise ValueError("mask has a row of False alone; allowed are rows with a True")
    return made


def causal_mask(length: int) -> Tensor:
    """(length, length) bools: position t may look at 0…t."""
    (length,) = check_sizes(length=length)
    return Tensor(np.tri(length, dtype=np.bool_))
