"""Convolution: torch with ==, finite differences, a case by hand, blocks, layouts, float16."""

import numpy as np
import pytest

from numq import autograd as ag
from numq.autograd import Tensor, convolution, gradcheck, parameter

EDGE = ((1, 0), (2, 1))  # top, bottom; left, right
CASES = [  # x, w, bias, arguments
    ((2, 3, 5, 6), (4, 3, 3, 2), True, {}),
    ((2, 3, 5, 6), (4, 3, 3, 2), False, {"stride": (2, 3), "padding": EDGE}),
    ((1, 2, 7, 7), (3, 2, 2, 3), True, {"dilation": (3, 2), "padding": EDGE}),
    ((2, 3, 7, 8), (4, 3, 3, 3), True, {"stride": (2, 1), "dilation": (1, 2), "padding": EDGE}),
    ((2, 4, 4, 5), (6, 2, 3, 2), True, {"groups": 2, "padding": EDGE}),
    ((2, 6, 4, 4), (3, 2, 2, 2), False, {"groups": 3, "stride": (1, 2)}),
    ((2, 3, 5, 5), (3, 1, 3, 3), True, {"groups": 3, "padding": EDGE, "stride": (2, 2)}),
    ((2, 3, 5, 5), (6, 1, 2, 2), True, {"groups": 3, "dilation": (2, 1)}),  # two for each channel
    ((1, 1, 4, 4), (1, 1, 2, 2), True, {}),
    ((3, 4, 2, 3), (5, 4, 1, 1), True, {}),
    ((3, 4, 5, 4), (5, 4, 1, 1), True, {"stride": (2, 3)}),
    ((2, 2, 3, 3), (2, 2, 3, 3), True, {}),
    ((0, 4, 3, 3), (2, 4, 2, 2), True, {"padding": EDGE}),
    ((0, 2, 3, 3), (2, 1, 2, 2), True, {"groups": 2}),
]


def halves(rng, shape, dtype=np.float32):
    """Multiples of ½ in [−4, 4]: products and sums of thousands of them are exact in float32."""
    return (rng.integers(-8, 9, shape) / 2).astype(dtype)


def arrays_of(case, dtype=np.float32):
    x, w, bias, _ = case
    rng = np.random.default_rng(0)
    return [halves(rng, s, dtype) for s in (x, w, *([w[:1]] if bias else []))]


def run(arrays, options, seed=None):
    """The result and all gradients."""
    inputs = [parameter(a) for a in arrays]
    y = ag.conv2d(*inputs, **options)
    if seed is None:
        seed = halves(np.random.default_rng(1), y.shape)
    y.backward(seed)
    return [y.data, *(p.grad for p in inputs)]


def assert_same(ours, theirs):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert (a == b).all()


@pytest.mark.parametrize("case", CASES)
def test_torch_exactly(case):
    torch = pytest.importorskip("torch")
    options = case[3]
    arrays = arrays_of(case)
    (t, b), (left, r) = options.get("padding", ((0, 0), (0, 0)))
    given = {k: v for k, v in options.items() if k != "padding"}
    inputs = [torch.tensor(a, requires_grad=True) for a in arrays]
    padded = torch.nn.functional.pad(inputs[0], (left, r, t, b))
    y = torch.nn.functional.conv2d(padded, *inputs[1:], **given)
    y.backward(torch.tensor(halves(np.random.default_rng(1), y.shape)))
    assert_same(run(arrays, options), [y.detach().numpy(), *(p.grad.numpy() for p in inputs)])


@pytest.mark.parametrize("case", CASES)
def test_all_slopes(case):
    gradcheck(
        lambda *inputs: ag.conv2d(*inputs, **case[3]),
        *map(Tensor, arrays_of(case, np.float64)),
    )


def test_by_hand():
    x = parameter([[[[1.0, 2, 3], [4, 5, 6]]]])
    w = parameter([[[[1.0, 10], [100, 1000]]]])
    b = parameter([0.5])
    y = ag.conv2d(x, w, b)
    assert y.data.tolist() == [[[[1 + 20 + 400 + 5000 + 0.5, 2 + 30 + 500 + 6000 + 0.5]]]]
    y.backward([[[[1.0, 2]]]])
    assert x.grad.tolist() == [[[[1, 10 + 2, 20], [100, 1000 + 200, 2000]]]]
    assert w.grad.tolist() == [[[[1 + 4, 2 + 6], [4 + 10, 5 + 12]]]]
    assert b.grad.tolist() == [3]


@pytest.mark.parametrize("case", CASES)
def test_blocks_of_pictures_change_nothing(case, monkeypatch):
    arrays = arrays_of(case)
    whole = run(arrays, case[3])
    monkeypatch.setattr(convolution, "BLOCK", 1)  # one picture at a time
    assert_same(run(arrays, case[3]), whole)


def test_blocks_cover_all_pictures(monkeypatch):
    monkeypatch.setattr(convolution, "BLOCK", 2 * 4 * 9 * 2)  # 2 of 5: 2, 2 and 1
    ones = [np.ones((5, 2, 4, 4), np.float32), np.ones((1, 2, 3, 3), np.float32)]
    y, to_x, to_w = run(ones, {}, np.ones((5, 1, 2, 2)))
    assert (y == 18).all()
    assert (to_x == [[1, 2, 2, 1], [2, 4, 4, 2], [2, 4, 4, 2], [1, 2, 2, 1]]).all()
    assert (to_w == 20).all()


@pytest.mark.parametrize("case", CASES)
def test_layouts_of_memory_change_nothing(case):
    arrays = arrays_of(case)
    flipped = [np.flip(a.copy(order="F")) for a in arrays]
    plain = [np.ascontiguousarray(a) for a in flipped]
    assert_same(run(flipped, case[3]), run(plain, case[3]))


@pytest.mark.parametrize("case", CASES)
def test_float16_is_float32_rounded(case):
    rng = np.random.default_rng(2)
    half = [rng.normal(size=a.shape).astype(np.float16) for a in arrays_of(case)]
    with np.errstate(under="ignore"):
        single = [r.astype(np.float16) for r in run([a.astype(np.float32) for a in half], case[3])]
        assert_same(run(half, case[3]), single)


def test_long_sums_of_float16():
    ones = [np.ones(s, np.float16) for s in ((100, 1, 8, 8), (1, 1, 1, 1), (1,))]
    _, _, to_w, to_b = run(ones, {}, np.ones((100, 1, 8, 8)))
    assert to_w == to_b == 6400  # a sum in float16 would stay at 2048


def test_only_what_is_asked_for():
    x, w = Tensor(np.ones((1, 1, 2, 2))), parameter(np.ones((1, 1, 1, 1)))
    ag.conv2d(x, w).backward(np.ones((1, 1, 2, 2)))
    assert x.grad is None
    assert w.grad.item() == 4
    x, w = parameter(x.data), w.detach()
    ag.conv2d(x, w).backward(np.ones((1, 1, 2, 2)))
    assert w.grad is None
    assert (x.grad == 1).all()


def test_tape_tells_all():
    node = ag.conv2d(
        parameter(np.ones((1, 2, 5, 5))), np.ones((2, 1, 2, 2)),
        stride=(1, 2), padding=((1, 2), (3, 4)), dilation=(2, 1), groups=2,
    ).node  # fmt: skip
    assert node.op == "Conv"
    assert node.attributes == {
        "strides": (1, 2), "pads": (1, 3, 2, 4), "dilations": (2, 1), "group": 2
    }  # fmt: skip


X, W = np.ones((1, 2, 3, 3)), np.ones((2, 2, 2, 2))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((X[0], W), {}, r"x has shape \(2, 3, 3\)"),
        ((X, W[0]), {}, r"w \(2, 2, 2\)"),
        ((X, W[:, :1]), {}, "x has 2 channels, w has shape"),
        ((X, W[:, :1]), {"groups": 0}, "groups is 0"),
        ((X, np.ones((3, 1, 2, 2))), {"groups": 2}, "filters that groups divides"),
        ((X[:, :0], W[:, :0]), {}, "x has 0 channels"),
        ((X, W, [1.0]), {}, r"b has shape \(1,\)"),
        ((X, W), {"stride": (0, 1)}, r"stride is \(0, 1\); allowed are integers from 1 on"),
        ((X, W), {"stride": 2}, "stride is 2"),
        ((X, W), {"stride": (1, 1.5)}, r"stride is \(1, 1.5\)"),
        ((X, W), {"dilation": (1, -1)}, r"dilation is \(1, -1\)"),
        ((X, W), {"dilation": (1, 1, 1)}, "dilation is"),
        ((X, W), {"padding": ((0, 0), (0, -1))}, "padding is .* from 0 on"),
        ((X, W), {"padding": (1, 1)}, r"padding is \(1, 1\)"),
        ((X, W), {"dilation": (3, 1)}, r"the window is \(2, 2\) with dilation \(3, 1\)"),
        ((X, np.ones((1, 2, 4, 1))), {}, r"the window is \(4, 1\)"),
        ((X, np.ones((1, 2, 0, 1))), {}, r"size is \(0, 1\)"),
        ((X[:, :, :0], W), {"padding": ((2, 2), (2, 2))}, r"a picture of \(0, 3\)"),
    ],
)
def test_errors(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        ag.conv2d(*arguments, **options)
