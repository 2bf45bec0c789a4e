"""Arithmetic on integers in a graph: ONNX's result and dtype, or refused by the node's name."""

import operator

import numpy as np
import pytest

from numq import autograd as ag
from numq import flows, nn
from numq.autograd import Tensor
from numq.graph import Graph, Input, Node, Numbers, Program, run_tensors, trace

INTEGERS = ("int8", "uint8", "int16", "int32", "int64")
DTYPES = (*INTEGERS, "bool", "float32")
VALUES = {"int8": [-128, -7, 7, 100, 127, 3], "uint8": [0, 7, 200, 100, 255, 3],
          "int16": [-(2**15), -7, 7, 300, 2**15 - 1, 3], "int32": [-(2**31), -7, 7, 2**20, 5, 3],
          "int64": [-(2**63), -7, 7, 2**40, 5, 3], "bool": [0, 1, 1, 0, 1, 1],
          "float32": [-1.5, 0, 2, 7, 3, -7]}  # fmt: skip
SMALL = [0, 1, 2, 3, 1, 2]
ONE = ("Neg", "Abs", "Relu", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceMean", "Round")
TWO = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Greater", "Less", "Concat", "MatMul")
MORE = {"Concat": {"axis": 0}}
GIVEN = {"bool": Numbers.BOOL, "float32": Numbers.REAL}


def computed(op, *arrays, **attributes):
    """By numq; None if the node is refused by its name."""
    names = tuple(f"c{i}" for i in range(len(arrays)))
    node = Node(op, "here", names, ("y",), attributes)
    kinds = [GIVEN.get(a.dtype.name, Numbers.INTEGER) for a in arrays]
    declared = {n: Input(k) for n, k in zip(names, kinds, strict=True)}
    graph = Graph(names, ("y",), (node,), declared=declared)
    try:
        return Program(graph)(*arrays)
    except (TypeError, ValueError) as error:
        if "node here" not in str(error):
            raise
        return None


def reference(op, *arrays, **attributes):
    """By ONNX's own, where the result has a dtype by ONNX's table of types; else None."""
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    names, kind = [f"c{i}" for i in range(len(arrays))], onnx.helper.np_dtype_to_tensor_dtype
    infos = [onnx.helper.make_tensor_value_info(n, kind(a.dtype), a.shape)
             for n, a in zip(names, arrays, strict=True)]  # fmt: skip
    made = onnx.helper.make_empty_tensor_value_info("y")
    node = onnx.helper.make_node(op, names, ["y"], **attributes)
    graph = onnx.helper.make_graph([node], "g", infos, [made])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)])
    try:
        onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    except onnx.shape_inference.InferenceError:
        return None
    with np.errstate(all="ignore"):
        return ReferenceEvaluator(model).run(None, dict(zip(names, arrays, strict=True)))[0]


def exact(op, *arrays):
    """With Python's integers, for the operators whose result may leave the dtype."""
    fold = {"Add": operator.add, "Sub": operator.sub, "Mul": operator.mul, "Neg": operator.neg,
            "Abs": abs, "ReduceSum": lambda a: sum(a)}.get(op)  # fmt: skip
    return None if fold is None else fold(*(a.astype(object) for a in arrays))


def check(op, *arrays):
    got, wanted = (
        computed(op, *arrays, **MORE.get(op, {})),
        reference(op, *arrays, **MORE.get(op, {})),
    )
    if got is None:
        return False
    assert wanted is not None or (op, arrays[0].dtype.kind) in LENIENT, "ONNX refuses this"
    if wanted is not None:
        assert got.dtype == wanted.dtype
        np.testing.assert_array_equal(got, wanted)
    if arrays[0].dtype.kind != "f" and (true := exact(op, *arrays)) is not None:
        assert np.array_equal(got.astype(object).ravel(), np.ravel(true))
    return True


# Types that ONNX refuses (sums of 8 bits, Neg and Relu of unsigned ones) and that are exact here.
LENIENT = {
    *((op, kind) for op in ("ReduceSum", "ReduceMax", "ReduceMin") for kind in "iu"),
    *((op, "b") for op in ("ReduceMax", "ReduceMin", "Relu")),
    *((op, "u") for op in ("Neg", "Relu")),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", ONE)
def test_one_operand(op, dtype):
    check(op, np.array(VALUES[dtype], dtype))
    ran = check(op, np.array(SMALL, dtype))
    counts = dtype != "bool" and op not in ("ReduceMean", "Round")
    assert ran == (dtype == "float32" or (counts and (op, dtype) != ("Neg", "uint8")))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("op", TWO)
def test_two_operands(op, dtype):
    a = np.array(VALUES[dtype], dtype)
    check(op, a, a[::-1].copy())
    ran = check(op, np.array(SMALL, dtype), np.array([1, 1, 2, 2, 1, 1], dtype))
    numbers = dtype != "bool" and (op != "MatMul" or dtype == "float32")
    assert ran == (numbers or op == "Concat") or op == "Sub"  # 0 − 1 has no unsigned code


@pytest.mark.parametrize("dtypes", [(a, b) for a in DTYPES for b in DTYPES if a != b])
@pytest.mark.parametrize("op", TWO)
def test_mixed_dtypes_are_refused(op, dtypes):
    assert computed(op, *(np.array([1, 1], d) for d in dtypes), **MORE.get(op, {})) is None


@pytest.mark.parametrize(
    ("op", "dtype", "arrays", "wanted"),
    [
        ("Add", "uint8", ([200], [100]), None), ("Add", "uint8", ([200], [55]), [255]),
        ("Sub", "uint8", ([20], [100]), None), ("Neg", "int8", ([-128],), None),
        ("Abs", "int8", ([-128],), None), ("Abs", "int8", ([-127],), [127]),
        ("Mul", "int32", ([2**20], [2**20]), None),
        ("Mul", "int32", ([2**15], [-(2**16)]), [-(2**31)]),
        ("ReduceSum", "int32", ([2**31 - 1, 1],), None),
        ("ReduceSum", "int32", ([2**31 - 1, 0],), [2**31 - 1]),
        ("Div", "int8", ([-128], [-1]), None), ("Div", "int64", ([-(2**63)], [-1]), None),
        ("Div", "int32", ([1], [0]), None),
        ("Div", "int8", ([-7, 7, -7, 7, -128, 0], [2, -2, -2, 2, 3, -5]),
         [-3, -3, 3, 3, -42, 0]),
        ("Div", "int64", ([2**63 - 1], [-1]), [1 - 2**63]),
        ("Div", "uint64", ([2**64 - 1], [2]), [2**63 - 1]),
        ("Pow", "int32", ([3, -3], 3), [27, -27]), ("Pow", "int32", ([2], 31), None),
        ("Pow", "int32", ([2], -1), None),
    ],
)  # fmt: skip
def test_bounds(op, dtype, arrays, wanted):
    got = computed(op, *(np.array(a, dtype) for a in arrays))
    if wanted is None:
        assert got is None
    else:
        assert got.dtype == dtype
        assert got.ravel().tolist() == wanted


INTS, REALS = np.array([[3, 4]]), np.float32([[1, -2]])


@pytest.mark.parametrize(
    ("model", "x", "dtype"),
    [
        (lambda i: i + 1, INTS, "int64"), (lambda i: i * i, INTS, "int64"),
        (lambda i: i / 2, INTS, "float32"), (lambda i: ag.concat([i, i + 2], 0), INTS, "int64"),
        (lambda x: x * (x > 0), REALS, "float32"), (lambda x: ag.sum(x > 0), REALS, "int64"),
        (lambda x: x + np.array([1, 2]), REALS, "float32"),
        (lambda x: ag.where(x > 0, x, 0), REALS, "float32"),
        (lambda x: ag.where(x > 0, x > 0, x), REALS, "float32"),
        (lambda x: ag.gather(x, ag.argmax(x, 1) - np.array(1, np.int32), 1), REALS, "float32"),
    ],
)  # fmt: skip
def test_a_recording_casts_where_python_mixes(model, x, dtype):
    graph = trace(model, x)
    got, wanted = Program(graph)(x), model(Tensor(x)).data
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(run_tensors(graph, [Tensor(x)])[0].data, wanted)


def test_integers_of_any_width_are_counted_as_int64():
    program = Program(trace(lambda i: i + 1, INTS))
    for dtype in ("uint8", "int32", "int64"):
        got = program(np.array([[255 if dtype == "uint8" else 7]], dtype))
        assert got.dtype == np.int64
        assert got.item() == (256 if dtype == "uint8" else 8)


def test_bools_in_a_product_become_numbers_in_the_flows():
    fc = nn.Linear(4, 3, rng=np.random.default_rng(0))
    x = np.random.default_rng(1).random((5, 4)) > 0.5
    wanted = fc(x.astype(np.float32)).data
    for network in (flows.static(fc, [x]), flows.dynamic(fc, x)):
        np.testing.assert_allclose(network(x), wanted, atol=0.02)
