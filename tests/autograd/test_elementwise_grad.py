"""Functions of one element at their ends, and choices on ties and beside NaN."""

import itertools
import math

import numpy as np
import pytest
from beside_torch import BROADCAST, assert_near, assert_same, dyadic
from peers import followed

from numq import autograd as ag
from numq.autograd import GeluForm, Tensor, parameter

DTYPES = [np.float16, np.float32, np.float64]


@pytest.fixture
def functional():
    return pytest.importorskip("torch", reason="torch is the optional oracle").nn.functional


def ends(dtype):
    """Zeros, infinities, NaN, the largest and the smallest, and where exp and x² overflow."""
    limits = np.finfo(dtype)
    values = [0.0, math.inf, math.nan, 1, 20, 90, 300, limits.max, limits.tiny]
    return np.array([s * v for v in values for s in (1, -1)], dtype)


EXACT = {
    "relu": lambda f: (ag.relu, f.relu),
    "leaky_relu": lambda f: (lambda a: ag.leaky_relu(a, 0.25), lambda a: f.leaky_relu(a, 0.25)),
}
ROUNDED = {
    "exp": lambda f: (ag.exp, lambda a: a.exp()),
    "log": lambda f: (ag.log, lambda a: a.log()),
    "sqrt": lambda f: (ag.sqrt, lambda a: a.sqrt()),  # torch's float32 is an ulp off at 300
    "tanh": lambda f: (ag.tanh, lambda a: a.tanh()),
    "sigmoid": lambda f: (ag.sigmoid, lambda a: a.sigmoid()),
    "erf": lambda f: (ag.erf, lambda a: a.erf()),
    "gelu": lambda f: (ag.gelu, f.gelu),
    "gelu/tanh": lambda f: (
        lambda a: ag.gelu(a, form=GeluForm.TANH), lambda a: f.gelu(a, approximate="tanh")
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_functions(functional, name, dtype):
    assert_same(*EXACT[name](functional), [ends(dtype)])


def clamp_passes_at_bounds(torch):
    """Whether the installed torch lets the gradient through where a value is at the bound."""
    at = torch.tensor([1.0, 2.0], requires_grad=True)
    at.clamp(1, 2).sum().backward()
    what = f"torch {torch.__version__}, clamp's gradient at its bounds"
    return followed(what, at.grad.tolist(), {"passes": [1, 1], "is 0": [0, 0]}) == "passes"


@pytest.mark.parametrize("bounds", [(-1, 20), (1, None), (None, 1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_clip_is_torchs_and_passes_at_its_bounds(bounds, dtype):
    torch = pytest.importorskip("torch")
    x = ends(dtype)
    seed = dyadic(np.random.default_rng(7), x.shape, dtype)
    a, t = parameter(x), torch.tensor(x, requires_grad=True)
    y, other = ag.clip(a, *bounds), t.clamp(*bounds)
    y.backward(seed)
    other.backward(torch.tensor(seed))
    assert_near(y.data, other.detach().numpy(), 0)
    at = np.isin(x, [b for b in bounds if b is not None])
    theirs = t.grad.numpy()
    assert at.sum() == 2 - (None in bounds)
    assert (a.grad[at] == seed[at]).all()
    assert (theirs[at] == (seed[at] if clamp_passes_at_bounds(torch) else 0)).all()
    assert_near(a.grad[~at], theirs[~at], 0)


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("dtype", DTYPES)
def test_ends_of_rounded_functions(functional, name, dtype):
    """Also that nothing warns: warnings are errors."""
    x = ends(dtype)
    if name == "gelu" and dtype == np.float32:
        x = x[x != math.inf]  # torch's vectorized float32 has NaN there, and inf in float64
    # At most 4 functions and products, each within an ulp of values below 1 or of the result's
    # own size, times a seed of up to 4: 16 in each library.
    assert_same(*ROUNDED[name](functional), [x], ulps=32)


@pytest.mark.parametrize("name", ROUNDED)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1, 1), (500,)])
def test_shapes_of_rounded_functions(functional, name, shape):
    x = np.random.default_rng(3).uniform(0.1, 4, shape)
    assert_same(*ROUNDED[name](functional), [x], ulps=32)


def test_an_overflow_meets_a_gradient_of_zero():
    """0 · inf is NaN, as in torch, without a warning."""
    for y in (ag.exp(parameter([1e3])), ag.log(parameter([0.0])), ag.sqrt(parameter([0.0]))):
        y.backward([0.0])
        assert np.isnan(y.node.inputs[0].grad).all()


def test_gelu_by_hand():
    """Hendrycks and Gimpel 2016: x·Φ(x); Φ(1) = 0.841344746068543 (tables)."""
    assert abs(float(ag.gelu(Tensor(1.0))) - 0.841344746068543) < 1e-15
    u = math.sqrt(2 / math.pi) * (2 + 0.044715 * 8)
    assert float(ag.gelu(Tensor(2.0), form=GeluForm.TANH)) == 1 + math.tanh(u)
    half = parameter(np.float16([300, -300]))  # 300² is beyond float16
    ag.gelu(half, form=GeluForm.TANH).backward([1, 1])
    assert half.grad.tolist() == [1, 0]


def test_erf_is_that_of_the_standard_library():
    x = np.linspace(-6, 6, 1001)
    # libm promises an ulp, of values below 1.
    expected = np.array([math.erf(v) for v in x])
    assert_near(ag.erf(Tensor(x)).data, expected, 1)
    assert ag.erf(Tensor(x.reshape(7, 11, 13)[:, ::2].T)).shape == (13, 6, 7)  # not contiguous


def test_sigmoid_loses_nothing_far_below_zero():
    x = Tensor([-700.0, -40.0])
    assert_near(ag.sigmoid(x).data / np.exp(x.data), np.ones(2), 2)


CHOICES = {
    "maximum": lambda torch: (ag.maximum, torch.maximum),
    "minimum": lambda torch: (ag.minimum, torch.minimum),
}


@pytest.mark.parametrize("name", CHOICES)
@pytest.mark.parametrize("shapes", BROADCAST)
def test_choices_broadcast(functional, name, shapes):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(4)  # of 16 values, so that there are ties
    assert_same(*CHOICES[name](torch), [dyadic(rng, s) for s in shapes])


@pytest.mark.parametrize("name", CHOICES)
def test_choices_at_their_ends(functional, name):
    torch = pytest.importorskip("torch")
    values = [0.0, -0.0, math.inf, -math.inf, math.nan, 1, 3e38, -3e38]
    a, b = np.float32(list(itertools.product(values, values))).T
    assert_same(*CHOICES[name](torch), [a, b])  # of two infinities, too, each has half


@pytest.mark.parametrize("shapes", BROADCAST)
def test_where(functional, shapes):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(5)
    out = np.broadcast_shapes(*shapes)
    for mask in (rng.random(out) < 0.5, np.array(True), rng.random((2, *out)) < 0.5):
        assert_same(
            lambda a, b, m=mask: ag.where(m, a, b),
            lambda a, b, m=mask: torch.where(torch.tensor(m), a, b),
            [dyadic(rng, s) for s in shapes],
        )


def test_where_keeps_out_what_it_does_not_choose():
    x = parameter([0.0, 4.0])
    y = ag.where(x > 0, ag.sqrt(x), 7.0)
    assert y.data.tolist() == [7, 2]
    x, other = parameter([0.0, 4.0]), parameter([1.0, 1.0])
    ag.where(x > 0, x, other).backward([-math.inf, math.inf])  # 0 · inf would be NaN
    assert (x.grad.tolist(), other.grad.tolist()) == ([0, math.inf], [-math.inf, 0])


@pytest.mark.parametrize("bound", [0.1, np.float64(0.1), np.float32(0.1)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_clipped_value_can_come_back(bound, dtype):
    """0.1 is no float: what was clipped to it must still count as being at the bound."""
    above, below = parameter(np.array([0.5], dtype)), parameter(np.array([-0.5], dtype))
    at = parameter(ag.clip(above, hi=bound).data), parameter(ag.clip(below, lo=-bound).data)
    for x, y in zip(at, (ag.clip(at[0], hi=bound), ag.clip(at[1], lo=-bound)), strict=True):
        y.backward([1])
        assert (y.dtype, x.grad.tolist()) == (dtype, [1])


def test_clip_of_integers():
    assert ag.clip(Tensor([2**60 + 1, -5]), lo=0).data.tolist() == [2**60 + 1, 0]
    assert ag.clip(Tensor(np.int8([100, -100])), -3, 3).dtype == np.int8


def test_comparisons():
    a, b = Tensor([1.0, 2.0, math.nan]), [2.0, 2.0, 2.0]
    for y, expected in ((a > b, [False] * 3), (a < b, [True, False, False]), (a < 1.5, [1, 0, 0])):
        assert (y.dtype, y.data.tolist(), y.requires_grad) == (np.bool_, expected, False)
    assert (parameter([1.0]) > 0).node is None


@pytest.mark.parametrize(
    "function",
    [ag.exp, ag.log, ag.sqrt, ag.tanh, ag.sigmoid, ag.erf, ag.gelu, ag.leaky_relu, ag.mean],
)
def test_integers_are_refused(function):
    with pytest.raises(TypeError, match="a has dtype int64; allowed are float16, float32 and"):
        function(Tensor([1, 2]))


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda: ag.where([True, False], np.ones(3), 0.0), ValueError,
         r"condition has shape \(2,\), a has shape \(3,\), b has shape \(\)"),
        (lambda: ag.clip([1.0], math.nan), ValueError, "lo is nan"),
        (lambda: ag.clip([1.0], 0, math.nan), ValueError, "hi nan"),
        (lambda: ag.clip(Tensor([1]), 0.5), TypeError, "lo is 0.5, but a holds int64"),
        (lambda: ag.clip(Tensor([1]), hi=math.inf), TypeError, "hi is inf"),
        (lambda: ag.maximum([1.0, 2], [1.0, 2, 3]), ValueError, r"\(2,\), b has shape \(3,\)"),
        (lambda: ag.gelu([1.0], form="tanh"), TypeError, "form is 'tanh'.*GeluForm.TANH"),
    ],
)  # fmt: skip
def test_elementwise_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
