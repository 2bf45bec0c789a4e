"""Static networks compute with integers alone, with the kernels that compute them elsewhere, too.

Codes go through the network as arrays that refuse to become float, in whatever NumPy does with
them. A compiled kernel cannot watch: it is given the plain integers, what it is given may not hold
floats, and what it gives back is watched again. A tracer looks at what lies between: no array of
floats may stand in a variable of the operators.
"""

import sys

import numpy as np
import pytest
from graph_models import Residual, pictures, settled

import numq as nq
from numq import autograd as ag
from numq import flows, nn
from numq.integer import accumulate, convolve
from numq.kernels.convolution.prepared import PreparedConv
from numq.kernels.passes import requantize as passes
from numq.kernels.product.prepared import PreparedProduct
from numq.kernels.product.ways import WayOut

FLOATING = (nq.Requantization.F32_EVEN, nq.Requantization.F64_AWAY)


class NoFloat(np.ndarray):
    """An integer array that raises where anything makes a float of it, and stays one itself."""

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        refuse(inputs, options)
        return watched(getattr(ufunc, method)(*plain(inputs), **plain(options)))

    def __array_function__(self, function, types, args, kwargs):
        refuse(args, kwargs)
        return watched(super().__array_function__(function, types, args, kwargs))

    def __getitem__(self, key):
        return watched(super().__getitem__(key))

    def astype(self, dtype, *args, **kwargs):
        return watched(super().astype(dtype, *args, **kwargs))

    def view(self, *args, **kwargs):
        return watched(super().view(*args, **kwargs))

    def __float__(self):
        raise AssertionError("a float")


def plain(thing):
    """Without the watch, also inside of tuples, lists and dictionaries."""
    if isinstance(thing, dict):
        return {key: plain(value) for key, value in thing.items()}
    if isinstance(thing, tuple | list):
        return type(thing)(map(plain, thing))
    return np.asarray(thing) if isinstance(thing, NoFloat) else thing


def refuse(*things):
    """Raise if a float, or a type or an array of floats, is among the things or inside them."""
    for thing in things:
        if isinstance(thing, dict | tuple | list):
            refuse(*(thing.values() if isinstance(thing, dict) else thing))
        elif isinstance(thing, PreparedProduct | PreparedConv):
            refuse(thing.way)
        elif isinstance(thing, WayOut):
            refuse(*(array for array in (thing.scale, thing.bias) if array.size))
        elif isinstance(thing, type | np.dtype):
            assert np.dtype(thing).kind in "iub", "a float"
        elif isinstance(thing, np.ndarray | np.generic | float):
            assert np.asarray(thing).dtype.kind in "iub", "a float"


def watched(result):
    refuse(result)
    if isinstance(result, np.ndarray | np.generic):
        return np.ndarray.view(np.asarray(result), NoFloat)
    return tuple(map(watched, result)) if isinstance(result, tuple) else result


@pytest.mark.parametrize(
    "operation",
    [
        lambda a: a / 2,
        lambda a: np.multiply(a, 2, dtype=np.float64),
        lambda a: a.astype(np.float32).astype(np.int32),
        lambda a: a.view(np.float32),
        lambda a: np.where(a > 1, a, 0.5),
        lambda a: float(a[0]),
        lambda a: (-a[1:].T.reshape(-1).sum(keepdims=True).clip(0, 9) << 1) * 0.5,
    ],
)
def test_the_watch_sees_floats(operation):
    with pytest.raises(AssertionError, match="a float"):
        operation(watched(np.arange(3, dtype=np.int32)))


def through(kernel):
    """The kernel between watched arrays."""

    def call(*args, **kwargs):
        refuse(args, kwargs)
        return watched(kernel(*plain(args), **plain(kwargs)))

    return call


KERNELS = (
    (accumulate, "matmul"),
    (convolve, "conv2d_integers"),
    (passes, "requantize"),
    (PreparedProduct, "__call__"),
    (PreparedConv, "__call__"),
)
LAYERS = ("numq/integer/", "numq/graph/")


def no_floats_in_variables(frame, event, _):
    """A tracer of the operators: their arrays are integers, line by line."""
    if not any(p in frame.f_code.co_filename for p in LAYERS):
        return None
    for name, value in frame.f_locals.items():
        if isinstance(value, np.ndarray):
            assert value.dtype.kind in "iub", f"a float: {name} in {frame.f_code.co_qualname}"
    return no_floats_in_variables


def run_on_integers(monkeypatch, network, x):
    """Every node between the doors, one by one; what each of them makes."""
    for place, name in KERNELS:
        monkeypatch.setattr(place, name, through(getattr(place, name)))
    values = {}
    before = sys.gettrace()
    for node, step, sources in network.program.plan:
        if node.op == "QuantizeLinear":
            values[node.output] = watched(step(x))
        elif node.op != "DequantizeLinear":
            given = [values[name] for name in sources]
            sys.settrace(no_floats_in_variables)
            try:
                made = watched(step(*given))
            finally:
                sys.settrace(before)
            made = made if isinstance(made, tuple) else (made,)
            values.update(zip(node.outputs, made, strict=True))
    return values


class Everything(nn.Module):
    """The operators that `Residual` lacks: tables, moves, dilated and strided convolutions."""

    def __init__(self):
        rng = np.random.default_rng(2)
        self.a = nn.Conv2d(1, 4, 3, stride=2, padding=1, rng=rng)
        self.b = nn.Conv2d(4, 4, 3, dilation=2, padding=2, groups=2, rng=rng)
        self.out = nn.Linear(4, 3, rng=rng)

    def forward(self, x):
        y = ag.leaky_relu(self.b(ag.gelu(self.a(x))))
        y = ag.avg_pool2d(y, (3, 3), stride=(2, 2), padding=((1, 1), (1, 1)))
        y = ag.transpose(ag.tanh(y), (0, 2, 3, 1))[:, 1:]
        return self.out(ag.clip(ag.absolute(ag.neg(y)), 0.1, 0.8))


def networks():
    rng = np.random.default_rng(0)
    x = pictures(rng, 6)
    return {"residual": (settled(Residual(rng), x), x), "everything": (settled(Everything(), x), x)}


NETWORKS = networks()
WEIGHTS = [flows.Recipe().weights, nq.AffineQuantizer(nq.UINT8)]
INTEGER_OPERATORS = {
    "residual": {"QLinearConv", "QLinearAdd", "MaxPool", "QLinearGlobalAveragePool", "Table",
                 "QLinearAveragePool", "QLinearConcat", "Flatten", "QGemm"},
    "everything": {"QLinearConv", "Table", "QLinearAveragePool", "Transpose", "Slice", "QGemm"},
}  # fmt: skip


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("requantization", [h for h in nq.Requantization.NAMED if h.fixed])
@pytest.mark.parametrize(
    "weights", [flows.Recipe().weights, nq.AffineQuantizer(nq.UINT8)], ids=repr
)
def test_every_operator_is_integers_only(monkeypatch, name, requantization, weights):
    net, x = NETWORKS[name]
    network = flows.static(net, [x], weights=weights, requantization=requantization)
    assert network.islands == []
    operators = {node.op for node in network.graph}
    assert operators == INTEGER_OPERATORS[name] | {"QuantizeLinear", "DequantizeLinear"}
    expected = network.edges(x)
    values = run_on_integers(monkeypatch, network, x)
    assert values.keys() == network.graph.qparams.keys()
    for edge, codes in values.items():
        assert (np.asarray(codes) == expected[edge]).all(), edge
        assert len(np.unique(codes)) > 4


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("requantization", FLOATING)
def test_the_rules_that_compute_in_float_are_seen_to(monkeypatch, name, requantization):
    net, x = NETWORKS[name]
    network = flows.static(net, [x], requantization=requantization)
    with pytest.raises(AssertionError, match="a float"):
        run_on_integers(monkeypatch, network, x)
