"""What a tape must not do: lose a gradient, follow a changed value, or fail by its own length."""

import copy
import pickle
import threading

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import GradientError, Tensor, no_grad, parameter, record


def test_truth_is_that_of_the_number():
    assert not Tensor(0.0)
    assert not Tensor([0.0])  # not whether there are elements
    assert Tensor([[2.0]])
    for x in (Tensor([1.0, 1.0]), Tensor(np.ones(0))):
        with pytest.raises(ValueError, match=r"a tensor of shape \(\d,\) has no single truth"):
            bool(x)
    with pytest.raises(ValueError, match=r"shape \(2,\) has no single value; allowed is size 1"):
        float(Tensor([1.0, 2]))
    for action in (len, list):
        with pytest.raises(TypeError, match=r"shape \(\) has no length"):
            action(Tensor(1.0))


@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
def test_copies_are_leaves_that_nobody_writes_to(copied):
    x = parameter(np.float32([1, 2]))
    ag.sum(x).backward()
    y = copied(x)
    assert (y.data.tolist(), y.grad.tolist(), y.requires_grad, y.node) == (
        [1, 2],
        [1, 1],
        True,
        None,
    )
    with pytest.raises(ValueError, match="read-only"):
        y.data[0] = 5
    with pytest.raises(TypeError, match=r"the result of Mul, which cannot be copied.*detach"):
        copied(x * x)
    assert copied((x * x).detach()).data.tolist() == [1, 4]


def test_new_values_are_checked_as_the_first_are():
    x = parameter(np.float32([1, 2]))
    x.data = np.array([3, 4], ">f4")  # the same dtype, in the other byte order
    assert (x.data.tolist(), x.dtype.isnative, x.version) == ([3, 4], True, 1)
    with pytest.raises(TypeError, match="data is a masked array"):
        x.data = np.ma.masked_array(np.float32([1, 2]), [True, False])
    with pytest.raises(TypeError, match="requires_grad is 'no'"):
        Tensor([1.0], requires_grad="no")


def test_a_tape_of_50_000_is_walked_and_forgotten_without_recursion():
    x = y = parameter(1.0)
    for _ in range(50_000):
        y = record("Same", (y,), y.data, lambda g: (g,))
    y.backward()
    assert float(x.grad) == 1
    del y  # a chain of deallocations


def test_backward_again_adds_and_a_step_between_is_refused():
    x = parameter([2.0])
    y = x * x
    y.backward([1.0])
    y.backward([1.0])
    assert x.grad.tolist() == [8]
    x.data = np.array([3.0])
    with pytest.raises(RuntimeError, match="got new values"):
        y.backward([1.0])
    assert x.grad.tolist() == [8]


def test_threads_have_tapes_of_their_own():
    x, inside, outside = parameter([1.0]), threading.Event(), []

    def other():
        inside.wait(10)
        outside.append((x * x).requires_grad)

    thread = threading.Thread(target=other)
    thread.start()
    with no_grad():
        inside.set()
        thread.join()
        assert not (x * x).requires_grad
    assert outside == [True]


@pytest.mark.parametrize(
    ("backward", "message"),
    [
        (lambda g: (g,), "Own has 2 inputs, but 1 gradients"),
        (lambda g: (g, g, g), "Own has 2 inputs, but 3 gradients"),
        (lambda g: (g, [1.0, 1.0]), r"Own: the gradient of inputs\[1\] is \[1.0, 1.0\]"),
        (lambda g: (g, g[:1]), r"Own: inputs\[1\] has shape \(2,\), its gradient \(1,\)"),
    ],
)
def test_operations_of_ones_own_are_watched(backward, message):
    a, b = parameter([1.0, 2.0]), parameter([3.0, 4.0])
    y = record("Own", (a, b), a.data + b.data, backward)
    with pytest.raises(GradientError, match=message):
        y.backward([1.0, 1.0])


def test_operations_of_ones_own_take_tensors():
    with pytest.raises(TypeError, match=r"inputs\[1\] of Own is an array of shape \(2,\)"):
        record("Own", (Tensor([1.0, 2]), np.ones(2)), np.ones(2), None)
    with pytest.raises(TypeError, match="op is 'Own', inputs a Tensor"):  # its rows are none
        record("Own", parameter([1.0, 2]), np.ones(2), lambda g: (g,))
    with pytest.raises(TypeError, match="op is 5"):
        record(5, (Tensor([1.0]),), np.ones(1), None)
    with pytest.raises(TypeError, match="backward is 5; allowed are functions and None"):
        record("Own", (parameter([1.0]),), np.ones(1), 5)


LAYOUTS = {
    "0-d": np.array(0.75),
    "empty": np.zeros((0, 2)),
    "strided": (np.arange(1, 13) / 16).reshape(3, 4).T[::2, ::-1],
    "other byte order": np.array([[0.25, 0.5]], ">f8"),
    "one element": np.array([[0.5]]),
}
FUNCTIONS = {
    name: getattr(ag, name)
    for name in (
        "neg", "exp", "log", "sqrt", "tanh", "sigmoid", "erf", "relu", "leaky_relu", "gelu",
        "absolute", "sum",
    )
} | {
    "add": lambda a: a + a, "sub": lambda a: 1 - a, "mul": lambda a: a * a, "div": lambda a: 1 / a,
    "power": lambda a: a**3, "clip": lambda a: ag.clip(a, 0.3, 0.6),
    "maximum": lambda a: ag.maximum(a, 0.4), "where": lambda a: ag.where(a > 0.4, a, 0.0),
    "concat": lambda a: ag.concat([a, a], 0) if a.ndim else a, "stack": lambda a: ag.stack([a, a]),
    "reshape": lambda a: ag.reshape(a, (a.size,)), "index": lambda a: a[..., None],
    "pad": lambda a: ag.pad(a, [(1, 0)] * a.ndim),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_layout_gives_what_a_plain_array_gives(name, layout):
    x = LAYOUTS[layout]
    plain = np.ascontiguousarray(x, np.float64).reshape(x.shape)
    results = []
    for array in (x, plain):
        leaf = parameter(array)
        y = FUNCTIONS[name](leaf)
        y.backward(np.ones(y.shape))
        results.append((y.data, leaf.grad))
    for mine, other in zip(*results, strict=True):
        assert mine.dtype == other.dtype == np.float64
        assert mine.shape == other.shape
        assert mine.tolist() == other.tolist()
    assert results[0][1].shape == x.shape


def test_float16_overflows_to_infinity_with_numpys_warning_and_never_wraps():
    x = parameter(np.float16([60000.0]))
    with pytest.warns(RuntimeWarning, match="overflow"):
        assert np.isposinf((x + x).data).all()
    assert np.isposinf(ag.exp(x).data).all()
    y = ag.mean(ag.stack([x, x]))  # summed in float32
    y.backward()
    assert (float(y), x.grad.tolist()) == (60000, [1])


def test_a_refused_recording_leaves_nothing_behind():
    with pytest.raises(TypeError, match="dropout is 'yes'"), ag.tracing(dropout="yes"):
        pass
    assert ag.add(Tensor([1.0]), Tensor([2.0])).node is None
