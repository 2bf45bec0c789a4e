"""Every function of the engine: finite differences of all elements, and torch beside it."""

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import GeluForm, GradientError, Tensor, gradcheck, parameter, record

IDS = np.array([2, 0, 2, -1])
MASK = np.array([[True, False, True], [False, True, False]])
SAME = ((2, 2), (1, 1))


def positive(x):
    return np.abs(x) + 0.5


# name: (function of ours, the same in torch, shapes of the inputs, what makes them allowed)
CASES = {
    "add": (ag.add, lambda t, a, b: a + b, [(2, 3), (3,)], None),
    "sub": (ag.sub, lambda t, a, b: a - b, [(2, 1), (1, 3)], None),
    "mul": (ag.mul, lambda t, a, b: a * b, [(2, 3), ()], None),
    "div": (ag.div, lambda t, a, b: a / b, [(2, 3), (2, 1)], positive),
    "neg": (ag.neg, lambda t, a: -a, [(2, 3)], None),
    "power": (lambda a: ag.power(a, 3), lambda t, a: a**3, [(2, 3)], None),
    "power/half": (lambda a: a**-0.5, lambda t, a: a**-0.5, [(2, 3)], positive),
    "power/0": (lambda a: a**0, lambda t, a: a**0, [(2, 3)], None),
    "matmul": (ag.matmul, lambda t, a, b: a @ b, [(2, 1, 3, 4), (5, 4, 2)], None),
    "linear": (ag.linear, lambda t, x, w, b: t.nn.functional.linear(x, w, b),
               [(2, 3, 4), (5, 4), (5,)], None),
    "exp": (ag.exp, lambda t, a: a.exp(), [(2, 3)], None),
    "log": (ag.log, lambda t, a: a.log(), [(2, 3)], positive),
    "sqrt": (ag.sqrt, lambda t, a: a.sqrt(), [(2, 3)], positive),
    "tanh": (ag.tanh, lambda t, a: a.tanh(), [(2, 3)], None),
    "sigmoid": (ag.sigmoid, lambda t, a: a.sigmoid(), [(2, 3)], None),
    "erf": (ag.erf, lambda t, a: a.erf(), [(2, 3)], None),
    "relu": (ag.relu, lambda t, a: a.relu(), [(2, 3)], None),
    "leaky_relu": (lambda a: ag.leaky_relu(a, 0.1),
                   lambda t, a: t.nn.functional.leaky_relu(a, 0.1), [(2, 3)], None),
    "gelu": (ag.gelu, lambda t, a: t.nn.functional.gelu(a), [(2, 3)], None),
    "gelu/tanh": (lambda a: ag.gelu(a, form=GeluForm.TANH),
                  lambda t, a: t.nn.functional.gelu(a, approximate="tanh"), [(2, 3)], None),
    "absolute": (ag.absolute, lambda t, a: a.abs(), [(2, 3)], None),
    "maximum": (ag.maximum, lambda t, a, b: t.maximum(a, b), [(2, 3), (3,)], None),
    "minimum": (ag.minimum, lambda t, a, b: t.minimum(a, b), [(2, 3), (3,)], None),
    "clip": (lambda a: ag.clip(a, -0.7, 0.6), lambda t, a: a.clamp(-0.7, 0.6), [(4, 3)], None),
    "where": (lambda a, b: ag.where(MASK, a, b),
              lambda t, a, b: t.where(t.tensor(MASK), a, b), [(2, 3), (3,)], None),
    "sum": (lambda a: ag.sum(a, (0, 2), keepdims=True),
            lambda t, a: a.sum((0, 2), keepdim=True), [(2, 3, 4)], None),
    "mean": (lambda a: ag.mean(a, -1), lambda t, a: a.mean(-1), [(2, 3)], None),
    "max": (lambda a: ag.max(a, 1), lambda t, a: a.amax(1), [(2, 3, 2)], None),
    "min": (lambda a: ag.min(a, (0, 1)), lambda t, a: a.amin((0, 1)), [(2, 3, 2)], None),
    "reshape": (lambda a: ag.reshape(a, (3, -1)), lambda t, a: a.reshape(3, -1), [(2, 3)], None),
    "flatten": (lambda a: ag.flatten(a, 2), lambda t, a: a.flatten(0, 1).flatten(1),
                [(2, 3, 2, 2)], None),
    "transpose": (lambda a: ag.transpose(a, (2, 0, 1)), lambda t, a: a.permute(2, 0, 1),
                  [(2, 3, 4)], None),
    "unsqueeze": (lambda a: ag.unsqueeze(a, (0, 2)), lambda t, a: a[None, :, None], [(2, 3)], None),
    "squeeze": (lambda a: ag.squeeze(a, (1,)), lambda t, a: a.squeeze(1), [(2, 1, 3)], None),
    "broadcast_to": (lambda a: ag.broadcast_to(a, (4, 2, 3)), lambda t, a: a.expand(4, 2, 3),
                     [(2, 1)], None),
    "concat": (lambda a, b: ag.concat([a, b, a], 1), lambda t, a, b: t.cat([a, b, a], 1),
               [(2, 3), (2, 1)], None),
    "stack": (lambda a, b: ag.stack([a, b], 1), lambda t, a, b: t.stack([a, b], 1),
              [(2, 3), (2, 3)], None),
    "pad": (lambda a: ag.pad(a, ((1, 0), (0, 2)), 0.5),
            lambda t, a: t.nn.functional.pad(a, (0, 2, 1, 0), value=0.5), [(2, 3)], None),
    "index": (lambda a: a[1:, None, ..., -1], lambda t, a: a[1:, None, ..., -1], [(3, 2, 4)], None),
    "index/array": (lambda a: a[:, IDS], lambda t, a: a[:, IDS], [(2, 3)], None),
    "index/arrays": (lambda a: a[IDS, IDS], lambda t, a: a[IDS, IDS], [(3, 3, 2)], None),
    "gather": (lambda a: ag.gather(a, IDS.reshape(2, 2)), lambda t, a: a[IDS.reshape(2, 2)],
               [(3, 2)], None),
    "softmax": (lambda a: ag.softmax(a, 0), lambda t, a: a.softmax(0), [(2, 3)], None),
    "log_softmax": (ag.log_softmax, lambda t, a: a.log_softmax(-1), [(2, 3)], None),
    "cross_entropy": (lambda a: ag.cross_entropy(a, [1, 0]),
                      lambda t, a: t.nn.functional.cross_entropy(a, t.tensor([1, 0])),
                      [(2, 3)], None),
    "mse_loss": (ag.mse_loss, lambda t, a, b: t.nn.functional.mse_loss(a, b),
                 [(2, 3), (2, 3)], None),
    "conv2d": (lambda x, w, b: ag.conv2d(x, w, b, stride=(2, 1), padding=SAME, dilation=(1, 2)),
               lambda t, x, w, b: t.nn.functional.conv2d(
                   x, w, b, stride=(2, 1), padding=(2, 1), dilation=(1, 2)),
               [(2, 2, 5, 6), (3, 2, 3, 2), (3,)], None),
    "conv2d/groups": (lambda x, w: ag.conv2d(x, w, groups=2),
                      lambda t, x, w: t.nn.functional.conv2d(x, w, groups=2),
                      [(2, 4, 3, 3), (6, 2, 2, 2)], None),
    "conv2d/depthwise": (lambda x, w: ag.conv2d(x, w, padding=((1, 1), (1, 1)), groups=3),
                         lambda t, x, w: t.nn.functional.conv2d(x, w, padding=1, groups=3),
                         [(1, 3, 3, 4), (3, 1, 3, 3)], None),
    "max_pool2d": (lambda x: ag.max_pool2d(x, (3, 2), stride=(2, 1), padding=((1, 1), (0, 0))),
                   lambda t, x: t.nn.functional.max_pool2d(x, (3, 2), (2, 1), (1, 0)),
                   [(2, 2, 5, 4)], None),
    "avg_pool2d": (lambda x: ag.avg_pool2d(x, (3, 2), stride=(2, 1), padding=((1, 1), (1, 1))),
                   lambda t, x: t.nn.functional.avg_pool2d(
                       x, (3, 2), (2, 1), (1, 1), count_include_pad=False),
                   [(2, 2, 5, 4)], None),
    "avg_pool2d/padded": (
        lambda x: ag.avg_pool2d(x, (2, 2), padding=((1, 1), (1, 1)), count_include_pad=True),
        lambda t, x: t.nn.functional.avg_pool2d(x, 2, 2, 1), [(1, 2, 4, 4)], None),
    "global_avg_pool2d": (ag.global_avg_pool2d, lambda t, x: x.mean((2, 3), keepdim=True),
                          [(2, 3, 2, 4)], None),
    "batch_norm": (
        lambda x, g, b: ag.batch_norm(x, g, b, [0.1, -0.2], [0.5, 2.0]),
        lambda t, x, g, b: t.nn.functional.batch_norm(
            x, t.tensor([0.1, -0.2], dtype=x.dtype), t.tensor([0.5, 2.0], dtype=x.dtype), g, b),
        [(3, 2, 2, 2), (2,), (2,)], None),
    "batch_norm_train": (
        lambda x, g, b: ag.batch_norm_train(x, g, b)[0],
        lambda t, x, g, b: t.nn.functional.batch_norm(x, None, None, g, b, training=True),
        [(3, 2, 2, 2), (2,), (2,)], None),
    "layer_norm": (
        lambda x, g, b: ag.layer_norm(x, g, b, axis=-2),
        lambda t, x, g, b: t.nn.functional.layer_norm(x, (3, 2), g, b),
        [(2, 3, 2), (3, 2), (3, 2)], None),
}  # fmt: skip
NO_GRADIENT = {"argmax", "greater", "less"}
NO_FUNCTION = {
    "GeluForm", "GradientError", "Operand", "Tensor", "as_tensor", "gradcheck", "no_grad",
    "parameter", "record", "tracing",
}  # fmt: skip


def drawn(name, dtype):
    _, _, shapes, allowed = CASES[name]
    rng = np.random.default_rng(len(name))
    arrays = [rng.normal(size=s).astype(dtype) for s in shapes]
    return [allowed(a) if allowed else a for a in arrays]


def test_no_function_is_forgotten():
    assert {n.split("/")[0] for n in CASES} == {*ag.__all__} - NO_GRADIENT - NO_FUNCTION


@pytest.mark.parametrize("name", CASES)
def test_all_slopes(name):
    gradcheck(CASES[name][0], *map(Tensor, drawn(name, np.float64)))


@pytest.mark.parametrize("name", CASES)
def test_torch(name):
    torch = pytest.importorskip("torch")
    ours, theirs = CASES[name][:2]
    arrays = drawn(name, np.float64)
    inputs = [parameter(a) for a in arrays]
    others = [torch.tensor(a, requires_grad=True) for a in arrays]
    y, expected = ours(*inputs), theirs(torch, *others)
    seed = np.random.default_rng(7).normal(size=y.shape)
    y.backward(seed)
    expected.backward(torch.tensor(seed))
    assert y.shape == tuple(expected.shape)
    # Sums of at most 60 terms of size up to 10, in another order: 60·10·2⁻⁵², twice as much.
    grads = [(p.grad, q.grad) for p, q in zip(inputs, others, strict=True)]
    for mine, other in [(y.data, expected.detach()), *grads]:
        assert np.abs(mine - other.numpy()).max(initial=0) < 3e-13


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_precision_stays(name, dtype):
    inputs = [parameter(a) for a in drawn(name, dtype)]
    y = CASES[name][0](*inputs)
    y.backward(np.ones(y.shape))
    assert {y.dtype, *(p.grad.dtype for p in inputs)} == {np.dtype(dtype)}


@pytest.mark.parametrize(
    ("ours", "theirs", "x"),
    [
        (lambda a: ag.max(a, 1), lambda a: a.amax(1), [[1.0, 3, 3], [2, 2, 2]]),
        (lambda a: ag.min(a), lambda a: a.amin(), [[1.0, 1, 3], [2, 1, 2]]),
        (lambda a: ag.maximum(a, np.ones(3)), lambda a: a.maximum(a.new_ones(3)), [0.0, 1, 2]),
        (lambda a: ag.max_pool2d(a, (1, 2)), lambda a: a.max(3)[0], [[[[1.0, 1], [2, 2]]]]),
        (ag.absolute, lambda a: a.abs(), [-1.0, 0, 1]),
    ],
)  # fmt: skip
def test_ties_are_torchs(ours, theirs, x):
    torch = pytest.importorskip("torch")
    a, t = parameter(x), torch.tensor(x, dtype=torch.float64, requires_grad=True)
    y = ours(a)
    y.backward(np.ones(y.shape))
    theirs(t).sum().backward()
    assert a.grad.tolist() == t.grad.tolist()


@pytest.mark.parametrize(
    "function",
    [
        lambda x: ag.conv2d(x, np.ones((3, 2, 1, 1))),
        lambda x: ag.max_pool2d(x, (1, 1)),
        lambda x: ag.avg_pool2d(x, (1, 1)),
        lambda x: ag.softmax(x, 1),
        lambda x: ag.sum(x, 0),
        lambda x: ag.flatten(x),
        lambda x: ag.concat([x, x], 0),
        lambda x: x[:, 0],
        lambda x: ag.gelu(x) / 2 + x * x,
    ],
)
def test_nothing_in_nothing_out(function):
    x = parameter(np.ones((0, 2, 3, 3)))
    y = function(x)
    y.backward(np.ones(y.shape))
    assert x.grad.shape == (0, 2, 3, 3)


def made(forward, backward):
    """An operation of one's own."""
    return lambda a: record("Own", (a,), forward(a.data), lambda g: (backward(a.data, g),))


def test_gradcheck_sees_wrong_gradients():
    doubled = made(lambda x: 2 * x, lambda x, g: np.where(x > 5, 3 * g, 2 * g))
    gradcheck(doubled, Tensor([1.0, 2.0]))
    with pytest.raises(GradientError, match=r"inputs\[0\]\[1\]: the gradient is \S+, the slope"):
        gradcheck(doubled, Tensor([1.0, 6.0]))
    with pytest.raises(AssertionError, match=r"inputs\[1\]\[0, 1\]: the gradient is nan"):
        gradcheck(lambda a, b: a + ag.sqrt(b) * 0.0, Tensor(1.0), Tensor([[1.0, 0]]))


def test_gradcheck_sees_what_equal_weights_would_hide():
    """The slope of softmax's plain sum is 0, and so is that of its exchanged outputs."""
    softmax = made(
        lambda x: np.exp(x) / np.exp(x).sum(), lambda x, g: (g - g.mean())[::-1] * np.exp(x)
    )
    with pytest.raises(GradientError):
        gradcheck(softmax, Tensor([0.0, 0.0]))


def test_gradcheck_sees_small_errors_and_forgives_rounding():
    off = 1 + 2.0**-20
    with pytest.raises(GradientError):
        gradcheck(made(lambda x: x * x, lambda x, g: 2 * x * g * off), Tensor([1.0]))
    gradcheck(made(lambda x: x * x, lambda x, g: 2 * x * g * (1 + 2.0**-28)), Tensor([1.0]))
    loose = made(lambda x: x * x, lambda x, g: 2 * x * g * off)
    gradcheck(loose, Tensor([1.0]), tolerance=2.0**-18)


def test_gradcheck_steps_as_large_as_its_input():
    gradcheck(ag.mul, Tensor([1e12, 1e-12]), Tensor([3.0, -1e-3]))
    gradcheck(ag.neg, Tensor([1e300, -3.0]))


def test_gradcheck_passes_integers_on():
    gradcheck(lambda i, a: a[i], Tensor([1, 1]), Tensor([2.0, 3.0]))
    gradcheck(lambda mask, a: ag.where(mask, a, 0.0), Tensor([True, False]), Tensor([2.0, 3.0]))
    gradcheck(lambda a, b: a * 2.0, Tensor([1.0]), Tensor([5.0]))  # b has none, and slope 0


@pytest.mark.parametrize(
    ("function", "inputs", "error", "message"),
    [
        (ag.neg, [Tensor(np.ones(2, np.float32))], TypeError, r"inputs\[0\] has dtype float32"),
        (ag.neg, [np.ones(2)], TypeError, r"\(2,\), float64; allowed is Tensor"),
        (ag.neg, [Tensor([1])], ValueError, "no float64 tensor"),
        (lambda a: a.data, [Tensor([1.0])], TypeError, "the function's result is an array"),
        (made(lambda x: x.astype(np.float32), lambda x, g: g), [Tensor([1.0])], TypeError,
         "the function's result has dtype float32"),
        (lambda a: Tensor(2 * a.data), [Tensor([1.0])], ValueError, "nothing was recorded"),
        (made(lambda x: x + np.ones(2), lambda x, g: g), [Tensor(1.0)], GradientError,
         r"inputs\[0\] has shape \(\), its gradient \(2,\)"),
    ],
)  # fmt: skip
def test_gradcheck_errors(function, inputs, error, message):
    with pytest.raises(error, match=message):
        gradcheck(function, *inputs)


def test_values_are_never_changed_in_place():
    x = parameter([1.0, 2.0])
    y = x * x
    for action in (lambda: y.__setitem__(0, 1.0), lambda: np.asarray(y)):
        with pytest.raises(TypeError, match="Tensor"):
            action()
    with pytest.raises(ValueError, match="read-only"):
        y.data[0] = 5
    with pytest.raises(ValueError, match="result of Mul"):
        y.data = np.ones(2)
    x.data = np.array([5.0, 6.0])  # as an optimizer does
    with pytest.raises(RuntimeError, match="an input of Mul got new values"):
        y.backward([1, 1])
    with pytest.raises(ValueError, match=r"data has shape \(3,\)"):
        x.data = np.ones(3)
    original = np.ones(2)
    kept = Tensor(original)
    original[0] = 7
    assert kept.data.tolist() == [1, 1]


def test_dtypes():
    x = Tensor(np.ones(2, np.float32))
    results = [x * 2.0, 2 * x, x / 3, 1 - x, x**2, np.ones(2, np.float32) * x, ag.clip(x, 0, 1)]
    assert {t.dtype for t in results} == {np.dtype(np.float32)}
    half = parameter(np.float16([1, 2]))
    ag.sum(half * half).backward()
    assert half.grad.dtype == np.float16
    assert (x > 0.5).dtype == np.bool_
    assert ag.argmax(Tensor([[1.0, 3, 3]])).data.tolist() == [1]


def test_no_warning_escapes():  # warnings are errors here
    x = parameter([0.0, 1.0, -1.0])
    for y in (ag.log(x), ag.sqrt(x), x / 0.0, ag.exp(x * 1e4), x**0.5, ag.sigmoid(x * 1e4)):
        y.backward(np.ones(3))
    assert x.grad[0] != 0
    assert ag.softmax(Tensor([1e308, -1e308])).data.tolist() == [1, 0]


X4, W4 = Tensor(np.ones((1, 2, 3, 3))), Tensor(np.ones((2, 2, 2, 2)))


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (
            lambda: Tensor([1.0, 2]) + Tensor([1.0, 2, 3]),
            ValueError,
            "allowed are shapes that broadcast",
        ),
        (lambda: ag.linear(np.ones((2, 3)), np.ones((4, 2))), ValueError, r"x has shape \(2, 3\)"),
        (lambda: ag.linear([1.0], [[1.0]], [1.0, 2]), ValueError, "b has shape"),
        (lambda: ag.reshape([1.0, 2], (3,)), ValueError, r"shape is \(3,\)"),
        (lambda: ag.transpose([1.0], (1,)), ValueError, "axes is"),
        (lambda: ag.concat([], 0), ValueError, "empty"),
        (lambda: ag.concat([[1.0], [[1.0]]], 0), ValueError, "so that they join"),
        (lambda: ag.squeeze([1.0, 2], (0,)), ValueError, "axes is"),
        (lambda: ag.pad([1.0], [(1, -1)]), ValueError, "pads is"),
        (lambda: ag.sum([1.0], 1), ValueError, "axis is 1"),
        (lambda: ag.max(np.ones((0, 2))), ValueError, "no elements"),
        (lambda: ag.clip([1.0]), ValueError, "lo is None"),
        (lambda: ag.clip([1.0], 2, 1), ValueError, "lo is 2"),
        (lambda: ag.where([1.0], 1.0, 2.0), TypeError, "condition has dtype float64"),
        (lambda: Tensor([1.0, 2])[np.array([True, False])], TypeError, "mask of bools"),
        (lambda: Tensor([1.0, 2])[5], IndexError, "index 5"),
        (lambda: Tensor([1.0, 2])[0, 0], IndexError, "2 indices"),
        (lambda: ag.gather([1.0], [1]), IndexError, "from 1 to 1"),
        (lambda: ag.gather([1.0], [0.5]), TypeError, "indices has dtype"),
        (lambda: ag.conv2d(X4, np.ones((2, 3, 1, 1))), ValueError, "2 channels"),
        (lambda: ag.conv2d(X4, W4, groups=2), ValueError, "groups is 2"),
        (lambda: ag.conv2d(X4, W4, [1.0]), ValueError, "b has shape"),
        (lambda: ag.conv2d(X4, W4, stride=(0, 1)), ValueError, r"stride is \(0, 1\)"),
        (lambda: ag.conv2d(X4, W4, dilation=(3, 1)), ValueError, "fits a picture"),
        (lambda: ag.conv2d([1.0], W4), ValueError, "x has shape"),
        (lambda: ag.max_pool2d(X4, (2, 2), padding=((2, 0), (0, 0))), ValueError, "padding is"),
        (lambda: ag.global_avg_pool2d([1.0]), ValueError, "x has shape"),
        (lambda: ag.batch_norm_train(np.ones((1, 2)), np.ones(2), np.ones(2)), ValueError, "two v"),
        (lambda: ag.batch_norm_train(np.ones((2, 2)), np.ones(3), np.ones(2)), ValueError, "gamma"),
        (lambda: ag.layer_norm(np.ones((2, 2)), np.ones(3), np.ones(2)), ValueError, "gamma has"),
        (lambda: float(Tensor([1.0, 2])), ValueError, "size 1"),
    ],
)
def test_engine_errors(action, error, message):
    with pytest.raises(error, match=message):
        action()
