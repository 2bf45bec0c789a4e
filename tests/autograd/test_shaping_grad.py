"""The same elements in other places: every function beside torch with ==, at odd shapes."""

import numpy as np
import pytest
from beside_torch import assert_same, dyadic

from numq import autograd as ag
from numq.autograd import Tensor, parameter

CASES = {  # what: ours, torch's, shapes
    "reshape": (lambda a: ag.reshape(a, (4, -1)), lambda t, a: a.reshape(4, -1), [(2, 6)]),
    "reshape/nothing": (lambda a: ag.reshape(a, (0, 5)), lambda t, a: a.reshape(0, 5), [(3, 0)]),
    "reshape/number": (lambda a: ag.reshape(a, ()), lambda t, a: a.reshape(()), [(1, 1)]),
    "reshape/turned": (lambda a: ag.reshape(ag.transpose(a), (-1,)),
                       lambda t, a: a.T.reshape(-1), [(2, 3)]),
    "flatten": (ag.flatten, lambda t, a: a.flatten(1), [(2, 3, 4)]),
    "flatten/0": (lambda a: ag.flatten(a, 0), lambda t, a: a.reshape(1, -1), [(2, 3)]),
    "flatten/all": (lambda a: ag.flatten(a, 2), lambda t, a: a.reshape(-1, 1), [(2, 3)]),
    "flatten/nothing": (ag.flatten, lambda t, a: a.reshape(0, 6), [(0, 2, 3)]),
    "flatten/number": (lambda a: ag.flatten(a, 0), lambda t, a: a.reshape(1, 1), [()]),
    "transpose": (ag.transpose, lambda t, a: a.transpose(-1, -2), [(2, 3, 4)]),
    "transpose/axes": (lambda a: ag.transpose(a, (1, 2, 3, 0)),
                       lambda t, a: a.permute(1, 2, 3, 0), [(2, 3, 4, 5)]),
    "transpose/nothing": (ag.transpose, lambda t, a: a.T, [(0, 3)]),
    "unsqueeze": (lambda a: ag.unsqueeze(a, (-1, 0)), lambda t, a: a[None, ..., None], [(2, 3)]),
    "squeeze": (lambda a: ag.squeeze(a, (0, -1)), lambda t, a: a[0, :, 0], [(1, 3, 1)]),
    "broadcast": (lambda a: ag.broadcast_to(a, (2, 3, 4)),
                  lambda t, a: a.expand(2, 3, 4), [(3, 1)]),
    "broadcast/nothing": (lambda a: ag.broadcast_to(a, (0, 3)),
                          lambda t, a: a.expand(0, 3), [(1, 3)]),
    "concat": (lambda a, b, c: ag.concat([a, b, c], -1),
               lambda t, a, b, c: t.cat([a, b, c], -1), [(2, 3), (2, 0), (2, 1)]),
    "concat/same": (lambda a: ag.concat([a, a, a], 0), lambda t, a: t.cat([a, a, a]), [(2, 3)]),
    "stack": (lambda a, b: ag.stack([a, b], -1), lambda t, a, b: t.stack([a, b], -1), [(2,), (2,)]),
    "stack/numbers": (lambda a, b: ag.stack([a, b]), lambda t, a, b: t.stack([a, b]), [(), ()]),
    "pad": (lambda a: ag.pad(a, ((0, 1), (2, 0), (1, 1)), -0.5),
            lambda t, a: t.nn.functional.pad(a, (1, 1, 2, 0, 0, 1), value=-0.5), [(2, 1, 3)]),
    "pad/nothing": (lambda a: ag.pad(a, ((1, 1), (0, 0))),
                    lambda t, a: t.nn.functional.pad(a, (0, 0, 1, 1)), [(0, 2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_shaping(name, dtype):
    torch = pytest.importorskip("torch", reason="torch is the optional oracle")
    ours, theirs, shapes = CASES[name]
    rng = np.random.default_rng(1)
    assert_same(ours, lambda *a: theirs(torch, *a), [dyadic(rng, s, dtype) for s in shapes])


def test_integers_and_bools_move_too():
    x = Tensor([[1, 2], [3, 4]])
    assert ag.transpose(x).data.tolist() == [[1, 3], [2, 4]]
    assert ag.concat([x, x], 1).dtype == np.int64
    assert ag.pad(x > 2, ((0, 1), (0, 0)), 1).data.tolist() == [[0, 0], [1, 1], [1, 1]]
    assert ag.pad(1.0, ()).shape == ()


def test_a_view_of_an_input_is_read_only():
    x = parameter(np.ones((2, 3)))
    for y in (ag.reshape(x, (3, 2)), ag.transpose(x), ag.broadcast_to(x, (4, 2, 3)), x[1:], x[0]):
        with pytest.raises(ValueError, match="read-only"):
            y.data[0] = 7


def test_what_a_graph_reads():
    x = parameter(np.ones((2, 3)))
    assert ag.pad(x, ((1, 2), (3, 4)), 2).node.attributes == {
        "pads": (1, 3, 2, 4), "mode": "constant", "value": 2.0,
    }  # fmt: skip
    y = ag.stack([x, x], 1)
    assert (y.node.op, [t.node.op for t in y.node.inputs]) == ("Concat", ["Unsqueeze"] * 2)
    assert ag.transpose(x).node.attributes == {"perm": (1, 0)}


@pytest.mark.parametrize(
    ("action", "error", "message"),
    [
        (lambda x: ag.reshape(x, (4, -1)), ValueError, r"shape is \(4, -1\).*\(2, 3\)"),
        (lambda x: ag.flatten(x, 3), ValueError, "axis is 3; allowed are 0 to 2 for"),
        (lambda x: ag.transpose(x, (0,)), ValueError, r"axes is \(0,\).*\(2, 3\)"),
        (lambda x: ag.transpose(x[0]), ValueError, r"axes is \(0, -1\)"),
        (lambda x: ag.unsqueeze(x, (4,)), ValueError, r"axes is \(4,\); allowed are -3 to 2"),
        (lambda x: ag.unsqueeze(x, (0, -4)), ValueError, r"axes is \(0, -4\)"),
        (lambda x: ag.squeeze(x, (2,)), ValueError, r"axes is \(2,\); allowed are -2 to 1"),
        (lambda x: ag.squeeze(x, (0,)), ValueError, r"length 1 in shape \(2, 3\)"),
        (lambda x: ag.broadcast_to(x, (3, 3)), ValueError, r"shape is \(3, 3\); allowed are"),
        (lambda x: ag.concat([x, x], 2), ValueError, r"\(2, 3\), \(2, 3\); allowed are"),
        (lambda x: ag.concat([x, x[0]], 0), ValueError, r"\(2, 3\), \(3,\); allowed are shapes"),
        (lambda x: ag.stack([x, x[:1]]), ValueError, r"\(2, 3\), \(1, 3\); allowed is one"),
        (lambda x: ag.pad(x, ((1, 1),)), ValueError, "allowed are 2 pairs"),
        (lambda x: ag.pad(Tensor([1]), ((1, 1),), 0.5), TypeError, "value is 0.5.*int64"),
    ],
)
def test_shaping_errors(action, error, message):
    with pytest.raises(error, match=message):
        action(Tensor(np.ones((2, 3))))
