"""A prepared layer has one answer: its arrays refuse to change, and are none of its caller's."""

import copy
import pickle

import numpy as np
import pytest

import numq as nq
from numq import integer

CODES = nq.QParams(0.5, 3, nq.INT8)
OUT = nq.QParams(0.25, -1, nq.INT8)
RULES = [*nq.Requantization.NAMED, nq.Requantization(nq.Multiplier.FLOAT64, nq.Rounding.FLOOR)]
WEIGHT = np.random.default_rng(0).normal(size=(3, 4))
KINDS = [nq.SymmetricQuantizer(nq.INT8, nq.PerChannel(0)), nq.AffineQuantizer(nq.UINT4)]
HANDED = {
    "linear": lambda w, b, rule: integer.prepare_linear(CODES, w, b, OUT, requantization=rule),
    "conv": lambda w, b, rule: integer.prepare_conv2d(
        CODES, nq.QTensor(w.codes[..., None, None], w.qparams), b, OUT, requantization=rule
    ),
    "dynamic": lambda w, b, rule: integer.DynamicLinear(w, b),
    "weight only": lambda w, b, rule: integer.WeightOnlyLinear(w, b),
    "add": lambda w, b, rule: integer.prepare_add(CODES, OUT, OUT, requantization=rule),
    "concat": lambda w, b, rule: integer.prepare_concat([CODES, OUT], OUT, requantization=rule),
    "average": lambda w, b, rule: integer.prepare_average(CODES, OUT, requantization=rule),
    "table": lambda w, b, rule: integer.prepare_table(np.tanh, CODES, OUT),
}


def arrays(value, path):
    """Every array in an object of this package and what it holds, by its path.

    Not `operands`: corrections as compiled code takes them, whose types say that they are writable.
    """
    if isinstance(value, np.ndarray):
        yield path, value
    elif isinstance(value, tuple | list):
        for i, part in enumerate(value):
            yield from arrays(part, f"{path}[{i}]")
    elif isinstance(value, dict):
        for key, part in value.items():
            yield from arrays(part, f"{path}[{key!r}]")
    elif type(value).__module__.startswith("numq.") and "parallel" not in type(value).__module__:
        slots = [n for kind in type(value).__mro__ for n in getattr(kind, "__slots__", ())]
        names = {*getattr(value, "__dict__", {}), *slots} - {"operands", "__weakref__"}
        for name in sorted(names):
            yield from arrays(getattr(value, name, None), f"{path}.{name}")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
@pytest.mark.parametrize("kind", KINDS, ids=repr)
@pytest.mark.parametrize("name", HANDED)
def test_every_array_of_a_prepared_layer_is_read_only(name, kind, rule):
    layer = HANDED[name](kind(WEIGHT), np.float32([1, -2, 3]), rule)
    twins = [layer, copy.deepcopy(layer)] if name not in ("dynamic", "weight only") else [layer]
    for twin in twins:
        found = dict(arrays(twin, name))
        assert found
        assert [path for path, array in found.items() if array.flags.writeable] == []


@pytest.mark.parametrize("kind", KINDS, ids=repr)
@pytest.mark.parametrize("name", ["linear", "conv", "dynamic", "weight only"])
def test_the_callers_bias_stays_the_callers(name, kind):
    bias = np.float32([1, -2, 3])
    layer = HANDED[name](kind(WEIGHT), bias, nq.Requantization.F32_EVEN)
    x = np.int8([[1, -2, 3, 4]]) if name in ("linear", "conv") else np.float32([[1, -2, 3, 4]])
    x = x[..., None, None] if name == "conv" else x
    before = layer.run(x)
    bias[:] = 100
    assert (layer.run(x) == before).all()
    if name in ("linear", "conv"):
        with pytest.raises(ValueError, match="read-only"):
            layer.bias[:] = 10**6
        twin = pickle.loads(pickle.dumps(layer))
        assert (twin.run(x) == before).all()
