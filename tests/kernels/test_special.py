"""The error function: the compiled form, the plain one, and SciPy's."""

import math

import numpy as np
import pytest
from scipy.special import erf as scipy_erf

from numq.kernels.passes import special

X = np.concatenate([np.linspace(-7, 7, 4001), 2.0 ** np.arange(-1074, 1024, 16)])


def test_values():
    # Every libm promises an ulp; two of them, below 1: 2·2⁻⁵³.
    assert np.abs(special.erf(X) - scipy_erf(X)).max() <= 2.0**-52


def test_the_plain_form(monkeypatch):
    monkeypatch.setattr(special, "jit_enabled", lambda: False)
    plain = special.erf(X)
    assert plain.tolist() == [math.erf(v) for v in X]
    monkeypatch.undo()
    assert np.abs(special.erf(X) - plain).max() <= 2.0**-52


@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (4, 5)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_shapes_and_dtypes(shape, dtype):
    x = np.full(shape, 0.5, dtype).T
    y = special.erf(x)
    assert (y.shape, y.dtype) == (x.shape, np.float64)
    assert (y == special.erf(np.array([0.5]))[0]).all()


def test_ends():
    y = special.erf(np.array([math.inf, -math.inf, 0.0, -0.0, math.nan]))
    assert y[:4].tolist() == [1, -1, 0, 0]
    assert np.signbit(y[3])
    assert np.isnan(y[4])
