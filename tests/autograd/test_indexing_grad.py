"""Indexing: every key against NumPy's meaning, gradients counted by which copies were made."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numq import autograd as ag
from numq.autograd import Tensor, parameter
from numq.graph import trace
from numq.graph.run import run_tensors

SHAPE = (3, 4, 2)
IDS = np.array([2, 0, 2, -1])
KEYS = {
    "integer": 1, "negative": -3, "numpy": np.int64(2), "none": None, "ellipsis": ...,
    "slice": slice(1, None), "step": slice(None, None, 2), "back": slice(None, None, -1),
    "back/step": (slice(None), slice(-1, 0, -2)), "back/part": (slice(None), slice(2, None, -1)),
    "beyond": slice(-100, 100), "beyond/back": slice(100, -100, -1),
    "empty": slice(2, 1), "empty/back": slice(-100, None, -1), "empty/back/2": slice(0, 2, -1),
    "mixed": (1, None, ..., slice(None, None, -1), None), "all": (0, 1, 1), "nothing": (),
    "ellipsis/middle": (0, ..., 1), "ellipsis/full": (0, 1, 1, ...),
    "array": IDS, "list": [0, 0, 1], "matrix": IDS.reshape(2, 2), "array/number": np.array(1),
    "array/axis": (slice(None), IDS), "array/last": (..., np.array([1, 1, 0])),
    "array/slice": (slice(1, None), IDS, slice(None, None, -1)), "array/none": (None, IDS, None),
    "array/empty": np.zeros(0, int), "arrays": (IDS, IDS), "arrays/broadcast": (IDS[:, None], IDS),
    "arrays/all": (IDS, IDS, np.array(0)), "arrays/rest": (IDS, IDS, ...),
    "uint8": np.uint8([2, 0, 2]),
}  # fmt: skip


def assert_numpys(key, shape=SHAPE):
    """The result is NumPy's; each element collects the seeds of all its copies."""
    array = np.arange(float(np.prod(shape))).reshape(shape)
    x = parameter(array)
    y = x[key]
    assert y.shape == array[key].shape
    assert (y.data == array[key]).all()
    if not y.requires_grad:  # x itself
        return
    seed = np.arange(1.0, y.size + 1).reshape(y.shape)
    y.backward(seed)
    expected = np.zeros(shape)
    for n, weight in zip(array[key].reshape(-1), seed.reshape(-1), strict=True):
        expected.flat[int(n)] += weight
    assert (x.grad == expected).all()


@pytest.mark.parametrize("name", KEYS)
def test_keys(name):
    assert_numpys(KEYS[name])


def replayed(function, example, x):
    """Recorded on one array, run on another."""
    return run_tensors(trace(function, example), [Tensor(x)])[0].data


ends = st.none() | st.integers(-6, 6)
slices = st.builds(slice, ends, ends, st.none() | st.sampled_from([-3, -2, -1, 1, 2, 3]))


@given(st.lists(slices, max_size=3), st.sampled_from([(3, 4, 2), (1, 5, 0), (4, 4, 1)]))
def test_slices(keys, shape):
    assert_numpys(tuple(keys), shape)


@given(st.lists(slices | st.sampled_from([0, -1, None]), max_size=4), st.booleans())
def test_slices_when_replayed(keys, ellipsis):
    """What is recorded (starts, ends, steps, axes) gives the same again."""
    kept = [i for i, k in enumerate(keys) if k is not None][:3]
    key = tuple(k for i, k in enumerate(keys) if k is None or i in kept) + (...,) * ellipsis
    x = np.arange(24.0).reshape(2, 3, 4)
    assert (replayed(lambda t: t[key] * 2.0, x, x) == 2 * x[key]).all()


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("shape", [(), (0,), (4,), (2, 2), (1, 2, 3)])
def test_gather(axis, shape):
    ids = np.random.default_rng(1).integers(-2, 2, shape)
    array = np.random.default_rng(2).normal(size=SHAPE)
    x = parameter(array)
    y = ag.gather(x, ids, axis)
    expected = np.take(array, ids, axis)
    assert y.shape == expected.shape
    assert (y.data == expected).all()
    y.backward(np.ones(y.shape))
    counts = np.bincount(ids.reshape(-1) % array.shape[axis], minlength=array.shape[axis])
    assert (np.moveaxis(x.grad, axis, -1) == counts).all()


def test_an_embedding_beside_torch():
    torch = pytest.importorskip("torch", reason="torch is the optional oracle")
    rng = np.random.default_rng(3)
    weight, ids = rng.integers(-8, 9, (10, 4)).astype(np.float32), rng.integers(0, 10, (5, 6))
    w, v = parameter(weight), torch.tensor(weight, requires_grad=True)
    y, expected = ag.gather(w, ids), torch.nn.functional.embedding(torch.tensor(ids), v)
    seed = rng.integers(-8, 9, y.shape).astype(np.float32)
    y.backward(seed)
    expected.backward(torch.tensor(seed))
    assert (y.data == expected.detach().numpy()).all()
    assert (w.grad == v.grad.numpy()).all()
    assert w.grad.dtype == np.float32


def test_a_row_read_very_often():
    x = parameter(np.ones((2, 1), np.float16))
    x[np.zeros(4096, int)].backward(np.ones((4096, 1)))
    assert x.grad.tolist() == [[4096], [0]]  # in float16 the count would end at 2048


def test_indices_that_are_computed_stay_on_the_tape():
    x = np.array([[3.0, 1, 2], [0, 5, 4]])
    for other in (x, x[:, ::-1]):
        y = replayed(lambda t: t[Tensor([0, 1]), ag.argmax(t)] * 1.0, x, other)
        assert y.tolist() == [3, 5]
    assert Tensor([1.0, 2, 3])[Tensor(2)].data == 3


def test_iteration_and_unpacking():
    x = parameter([[1.0, 2], [3, 4]])
    first, second = x
    (first * second).backward([1, 1])
    assert x.grad.tolist() == [[3, 4], [1, 2]]
    assert len(x) == 2


@pytest.mark.parametrize(
    ("key", "error", "message"),
    [
        (1.5, TypeError, "key has 1.5; allowed are integers"),
        ("a", TypeError, "key has 'a'"),
        (True, TypeError, "mask of bools.*where"),
        (np.array([True, False, True]), TypeError, "mask of bools.*where"),
        (np.bool_(True), TypeError, "mask of bools"),
        (Tensor([True]), TypeError, "mask of bools"),
        ([0.5], TypeError, "indices has dtype float64"),
        (3, IndexError, "index 3 is outside axis 0, of length 3"),
        ((0, -5), IndexError, "index -5 is outside axis 1, of length 4"),
        ((0, 0, 0, 0), IndexError, "key has 4 indices; allowed are up to 3"),
        ((..., 0, ...), IndexError, "more than one"),
        ([3], IndexError, r"from 3 to 3; allowed is \[-3, 3\)"),
        ([-4, 0], IndexError, "from -4 to 0"),
        ((0, [0]), TypeError, r"a\[0\]\[:, ids\]"),
        (([0], slice(None), [0]), TypeError, "several arrays if they are first"),
        (([0], [0], 0), TypeError, "with `:` behind"),
        (([0], [0], None), TypeError, "with `:` behind"),
        (([0, 1], [0, 1, 2]), IndexError, r"arrays of shapes \(2,\), \(3,\)"),
        (([0], [4]), IndexError, "from 4 to 4"),
        (([0],) * 4, IndexError, "4 indices"),
    ],
)
def test_key_errors(key, error, message):
    with pytest.raises(error, match=message):
        Tensor(np.ones(SHAPE))[key]


def test_gather_needs_an_axis():
    with pytest.raises(
        ValueError, match=r"axis is 3; allowed are -3 to 2 for a tensor of shape \(3, 4, 2\)"
    ):
        ag.gather(np.ones(SHAPE), [0], 3)
