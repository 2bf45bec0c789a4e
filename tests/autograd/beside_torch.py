"""The same expression in numq and in torch, forward and backward."""

import numpy as np
import pytest

from numq.autograd import parameter

# Shapes of two operands: equal, missing axes, axes of length 1 on either side, nothing at all.
BROADCAST = [
    ((3, 4), (3, 4)), ((3, 4), (4,)), ((4,), (3, 4)), ((3, 1), (1, 4)), ((), (2, 3)), ((2, 3), ()),
    ((2, 1, 3), (4, 1)), ((1, 1), (1,)), ((1,), (0,)), ((2, 0), (1, 0)), ((0, 3), (3,)),
    ((0, 3), ()), ((1,), (4, 1, 2)), ((2, 3, 1, 2), (3, 4, 1)),
]  # fmt: skip


def dyadic(rng, shape, dtype=np.float32):
    """Multiples of ½ in [−4, 4] without 0: sums and products of a few are exact in float32."""
    return np.array(rng.integers(1, 9, shape) / 2 * rng.choice([-1, 1], shape), dtype)


def powers_of_two(rng, shape, dtype=np.float32):
    """±¼ to ±4: quotients are exact too."""
    return np.array(2.0 ** rng.integers(-2, 3, shape) * rng.choice([-1, 1], shape), dtype)


def assert_same(ours, theirs, arrays, ulps=0):
    """Results and all gradients equal torch's, in dtype, shape and value.

    Args:
        ours: function of tensors.
        theirs: the same of torch's tensors.
        arrays: the inputs.
        ulps: difference allowed, in units of the last place of the larger of 1 and torch's value.
            NaN equals NaN.
    """
    torch = pytest.importorskip("torch", reason="torch is the optional oracle")
    inputs = [parameter(a) for a in arrays]
    others = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = ours(*inputs), theirs(*others)
    seed = dyadic(np.random.default_rng(7), y.shape, y.dtype)
    y.backward(seed)
    expected.backward(torch.tensor(seed))
    mine = [y.data, *(p.grad for p in inputs)]
    for array, other in zip(mine, [expected.detach(), *(q.grad for q in others)], strict=True):
        other = other.numpy()
        assert (array.dtype, array.shape) == (other.dtype, other.shape)
        assert_near(array, other, ulps)


def assert_near(array, other, ulps):
    with np.errstate(all="ignore"):
        allowed = ulps * np.finfo(other.dtype).eps * np.maximum(np.abs(other), 1)
        near = (array == other) | (np.abs(array - other) <= allowed)
    wrong = ~(near | (np.isnan(array) & np.isnan(other)))
    assert not wrong.any(), (array[wrong], other[wrong])
