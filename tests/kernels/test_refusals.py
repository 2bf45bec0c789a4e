"""What no kernel may be given: every hostile call is refused by the name of its argument."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from numq.kernels import (
    Isa,
    Layout,
    conv2d_dequantized,
    conv2d_integers,
    conv2d_requantized,
    get_threads,
    ladder,
    matmul,
    matmul_dequantized,
    matmul_integers,
    matmul_requantized,
    operands,
    pack_conv_weight,
    pack_weight,
    roof,
    set_threads,
)
from numq.kernels.grouped.activations import quantize_activation
from numq.kernels.grouped.weight_only import matmul_float, matmul_integer
from numq.kernels.grouped.weights import pack_grouped_weight
from numq.kernels.passes import elementwise, ranges, rows, special
from numq.kernels.passes.requantize import requantize
from numq.kernels.product import ways
from numq.kernels.product.rules import Mode
from numq.requantization import Multiplier, Requantization
from numq.rounding import Rounding

A, B = np.ones((2, 3), np.int8), np.ones((3, 4), np.int8)
X, W = np.ones((1, 4, 5, 6), np.int8), np.ones((2, 4, 3, 3), np.int8)
REAL, SUMS = np.ones((2, 3), np.float32), np.ones((2, 4), np.int32)
ONES, WORDS = np.ones(4, np.float32), np.ones(4, np.int32)
PACKED, PACKED_CONV = pack_weight(B), pack_conv_weight(W)
GROUPED = pack_grouped_weight(B, np.ones((1, 4), np.float32), bits=8, group=3)

ENDS = {"qmin": -8, "qmax": 7}
WAY = {"channels": 4, "zero_point": 0, "dtype": np.int8, **ENDS}

#: each public function, and arguments that it takes
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "matmul": (matmul, {"a": A, "b": B}),
    "packed": (matmul, {"a": A, "b": PACKED}),
    "integers": (matmul_integers, {"a": A, "b": PACKED}),
    "requantized": (matmul_requantized, {"a": A, "b": B, "multiplier": 0.5, **ENDS}),
    "dequantized": (matmul_dequantized, {"a": A, "b": B, "row_scale": 1.0, "column_scale": 1.0}),
    "pack": (pack_weight, {"b": B}),
    "conv": (conv2d_integers, {"x": X, "w": W}),
    "packed conv": (conv2d_integers, {"x": X, "w": PACKED_CONV}),
    "conv requantized": (conv2d_requantized, {"x": X, "w": W, "multiplier": 0.5, **ENDS}),
    "conv dequantized": (conv2d_dequantized, {"x": X, "w": W, "scale": 1.0}),
    "pack conv": (pack_conv_weight, {"w": W}),
    "quantize": (
        elementwise.quantize,
        {"x": REAL, "scale": 0.5, "zero_point": 0, "qmin": -8, "qmax": 7},
    ),
    "fake": (
        elementwise.fake_quantize,
        {"x": REAL, "scale": 0.5, "zero_point": 0, "qmin": -8, "qmax": 7},
    ),
    "dequantize": (elementwise.dequantize, {"codes": A, "scale": 0.5, "zero_point": 0}),
    "min max": (ranges.min_max, {"x": REAL}),
    "rows": (rows.quantize_rows, {"x": REAL, "symmetric": True, **ENDS}),
    "fixed": (ways.requantized,
              {**WAY, "requantization": Requantization.RUY_DOUBLE_UP, "multiplier": WORDS}),
    "float": (ways.requantized,
              {**WAY, "requantization": Requantization.F64_AWAY, "multiplier": 0.5}),
    "sums": (requantize, {"sums": SUMS, "way": ways.integers()}),
    "activation": (quantize_activation, {"x": REAL, "group": 2}),
    "weight-only integer": (matmul_integer, {"x": REAL, "weight": GROUPED}),
    "weight-only float": (matmul_float, {"x": REAL, "weight": GROUPED}),
    "pack grouped": (
        pack_grouped_weight,
        {"codes": B, "scales": np.ones((2, 4), np.float32), "bits": 8, "group": 2},
    ),
    "erf": (special.erf, {"x": REAL}),
    "roof": (roof.multiply, {"steps": 1}),
    "read": (roof.read, {"words": np.ones(64, np.int64)}),
    "threads": (set_threads, {"count": 1}),
    "naive": (ladder.naive, {"a": A, "b": B}),
    "tiling": (ladder.tiling, {"a": A, "b": B}),
    "packing": (ladder.packing, {"a": A, "b": B}),
}  # fmt: skip

MASKED = np.ma.MaskedArray
NAN, INF = float("nan"), float("inf")


def no_eight_bits(name: str, good: Any) -> list[tuple[str, Any]]:
    """What is no plain array of int8 or uint8."""
    others = [good.tolist(), None, "ab", 1, np.int8(1), MASKED(good), good.astype(object)]
    types = (bool, np.int16, np.int32, np.float32, np.float64, np.complex64, ">i2")
    return [(name, value) for value in (*others, *(good.astype(t) for t in types))]


def no_float32(name: str, good: Any) -> list[tuple[str, Any]]:
    others = [good.tolist(), None, 1.0, np.float32(1), MASKED(good), good.astype(object)]
    types = (bool, np.int8, np.int32, np.float16, np.float64, np.complex64, ">f4")
    return [(name, value) for value in (*others, *(good.astype(t) for t in types))]


def no_integer(name: str, low: int, high: int) -> list[tuple[str, Any]]:
    """What is no single integer from ``low`` to ``high``."""
    kinds = [1.9, 0.0, True, np.True_, "1", [1], NAN, np.float32(1), np.ones(3, np.int32), 1j]
    return [(name, value) for value in (*kinds, low - 1, high + 1, 2**63, -(2**70))]


def no_integers(name: str, count: int, low: int = -(2**31), high: int = 2**31 - 1) -> Any:
    """What is neither an integer from ``low`` to ``high`` nor so many int32."""
    arrays = [
        np.zeros(count + 1, np.int32), np.zeros((1, count), np.int32), np.zeros(count, np.int64),
        np.zeros(count, bool), np.zeros(count, np.float32), np.zeros(count, ">i4"),
        MASKED(np.zeros(count, np.int32)), np.zeros(count, object), np.zeros(0, np.int32),
    ]  # fmt: skip
    kinds = [1.9, True, "1", [0] * count, NAN, np.float64(0), low - 1, high + 1]
    return [(name, value) for value in (*arrays, *kinds)]


def no_reals(name: str, count: int, *, zero: bool, negative: bool) -> list[tuple[str, Any]]:
    """What is neither a finite number nor so many of them, float32."""
    good = np.ones(count, np.float32)
    numbers = [NAN, INF, -INF, 1e39, -1e39, 10**400, np.float32(np.nan)]
    numbers += [] if zero else [0.0, -0.0, 0, 1e-60, np.float32(0)]
    numbers += [] if negative else [-1.0, np.float32(-1), -(2.0**-149)]
    inside = []
    for number in (n for n in numbers if (isinstance(n, float) and abs(n) < 1e38) or n != n):
        array = good.copy()
        array[-1] = number
        inside.append(array)
    kinds = [True, "1", [1.0] * count, None, 1j, np.float64(1), np.array(INF, np.float32)]
    arrays = [
        good.astype(np.float64), good.astype(np.int32), good.astype(">f4"), good.astype(object),
        good.astype(bool), np.ones(count + 1, np.float32), good[None], MASKED(good), good[:0],
    ]  # fmt: skip
    return [(name, value) for value in (*numbers, *inside, *kinds, *arrays)]


def no_codes(low: int, high: int) -> list[tuple[str, Any]]:
    """Zero points and ends that do not fit."""
    ends = [("qmin", 8), ("qmax", -9), ("qmin", high)]
    return [*no_integer("qmin", low, high), *no_integer("qmax", low, high), *ends]


def no_kernel() -> list[tuple[str, Any]]:
    return [("isa", value) for value in ("avx2", "mmx", 0, True, [Isa.NUMPY], np.int8, {})]


def no_pair(name: str, least: int) -> list[tuple[str, Any]]:
    kinds = [1, None, "11", (1,), (1, 1, 1), (1, 1.5), (True, 1), (1, "1"), (1, None), (1, NAN)]
    return [(name, value) for value in (*kinds, (least - 1, 1), (1, 2**31), {1, 2})]


OUT_TYPES = [
    ("dtype", value)
    for value in (np.int16, np.int32, np.float32, bool, "int8", "i1", None, [np.int8], object, 8)
]
FLAGS = (1, 0, "yes", None, 1.0, np.ones(2, bool))
BAD_OUT = [
    np.zeros((2, 4)), np.zeros((2, 3), np.int32), np.zeros((2, 8), np.int32)[:, ::2], [[0] * 4] * 2,
    np.zeros((4, 2), np.int32).T, MASKED(SUMS.copy()), np.zeros((2, 4), ">i4"), np.int32(0), 5,
    np.frombuffer(bytes(32), np.int32).reshape(2, 4),
]  # fmt: skip
SHAPES_OF_A = [("a", np.ones(shape, np.int8)) for shape in ((), (2, 2), (2, 4), (0, 4), (3, 0))]
PRODUCT = [*no_eight_bits("a", A), ("a", A[0, 0]), *no_kernel(), *SHAPES_OF_A]
FUSED = [
    *PRODUCT, ("a", A[0]), *no_integer("a_zero_point", -(2**31), 2**31 - 1),
    *no_integers("b_zero_point", 4),
]  # fmt: skip
BIAS = [(name, value) for name, value in no_integers("bias", 4)]
CONV = [
    *no_eight_bits("x", X), ("x", X[0]), ("x", X[:, :3]), ("x", X[..., :2]), *no_kernel(),
    *no_pair("stride", 1), *no_pair("dilation", 1), ("padding", 1), ("padding", (1, 1)),
    ("padding", ((0, -1), (0, 0))), ("padding", ((0, 0),)), ("padding", ((0, 0), (0.5, 0))),
    ("padding", ((True, 0), (0, 0))), *no_integer("groups", 1, 2**31 - 1), ("groups", 3),
    ("layout", "nchw"), ("layout", None), ("layout", Layout), ("layout", 0),
    *no_integer("x_zero_point", -128, 127), *no_integers("w_zero_point", 2),
]  # fmt: skip
ELEMENTWISE = [
    *no_reals("scale", 1, zero=False, negative=True), *no_integer("axis", 0, 1), *no_kernel(),
    *no_integers("zero_point", 1, -(2**20), 2**20),
]  # fmt: skip
OUT_OF_CODES = [np.zeros((2, 3), np.int16), np.zeros((2, 4), np.int8), A.T.copy().T, A.tolist()]
RUNG = [*no_eight_bits("a", A), *no_eight_bits("b", B), ("a", A[0]), ("a", A[:, :2]), ("b", B[:2])]

#: what each of them refuses
HOSTILE: dict[str, list[tuple[str, Any]]] = {
    "matmul": [
        *PRODUCT,
        *no_eight_bits("b", B),
        ("b", B[:2]),
        ("b", B[0, 0]),
        *(("b", p) for p in [PACKED.panels] if p.ndim != 2),  # without the JIT they are B itself
        *(("out", out) for out in BAD_OUT),
    ],
    "packed": [
        *no_eight_bits("a", A),
        ("a", A[0]),
        *SHAPES_OF_A,
        *no_kernel(),
        *(("out", out) for out in BAD_OUT),
    ],
    "integers": [*FUSED, *BIAS[:-4], *(("out", out) for out in BAD_OUT)],
    "requantized": [
        *FUSED,
        *no_eight_bits("b", B),
        ("b", B[0]),
        ("b", B[None]),
        *((n, v) for n, v in OUT_TYPES if v is not np.int16),
        ("requantization", Mode.INTEGERS),
        *BIAS,
        *no_reals("multiplier", 4, zero=False, negative=False),
        *no_codes(-128, 127),
        *no_integer("zero_point", -128, 127),
    ],
    "dequantized": [
        *FUSED,
        *no_reals("row_scale", 2, zero=True, negative=True),
        *no_reals("column_scale", 4, zero=True, negative=True),
        *((n, v) for n, v in no_reals("bias", 4, zero=True, negative=True) if v is not None),
    ],
    "pack": [*no_eight_bits("b", B), ("b", B[0]), ("b", B[None]), *no_kernel()],
    "conv": [
        *CONV,
        *no_eight_bits("w", W),
        ("w", W[0]),
        ("w", W[..., :0]),
        *no_integers("bias", 2),
    ],
    "packed conv": [*CONV, ("groups", 2)],
    "conv requantized": [
        *CONV,
        *((n, v) for n, v in OUT_TYPES if v is not np.int16),
        *no_codes(-128, 127),
        *no_integer("zero_point", -128, 127),
        *no_reals("multiplier", 2, zero=False, negative=False),
    ],
    "conv dequantized": [
        *CONV,
        *no_reals("scale", 2, zero=True, negative=True),
        *((n, v) for n, v in no_reals("bias", 2, zero=True, negative=True) if v is not None),
    ],
    "pack conv": [
        *no_eight_bits("w", W),
        ("w", W[0]),
        ("w", W[:, :, :0]),
        *no_kernel(),
        *no_integer("groups", 1, 2**31 - 1),
        ("groups", 3),
    ],
    "quantize": [
        *no_float32("x", REAL),
        *ELEMENTWISE,
        *no_codes(-128, 127),
        *(("out", out) for out in OUT_OF_CODES),
        *((n, v) for n, v in OUT_TYPES if v is not np.int16),
    ],
    "fake": [
        *no_float32("x", REAL),
        *ELEMENTWISE,
        *no_codes(-(2**15), 2**16 - 1),
        *(("out", out) for out in OUT_OF_CODES),
    ],
    "dequantize": [
        *((n, v) for n, v in no_eight_bits("codes", A) if getattr(v, "dtype", 0) != np.int16),
        *ELEMENTWISE,
        *(("out", out) for out in OUT_OF_CODES),
    ],
    "min max": [*no_float32("x", REAL), *no_kernel()],
    "rows": [
        *no_float32("x", REAL),
        ("x", REAL[0]),
        ("x", REAL[None]),
        *no_kernel(),
        *OUT_TYPES,
        *no_codes(-128, 127),
        *(("symmetric", flag) for flag in FLAGS),
        ("qmax", -7),
    ],
    "fixed": [
        *no_codes(-128, 127),
        *no_integer("zero_point", -128, 127),
        *((n, v) for n, v in OUT_TYPES if v is not np.int16),
        *no_integers("multiplier", 4, 0, 2**31 - 1),
        *no_integers("shift", 4, -31, 30),
        ("multiplier", np.array([1, 1, 1, -1], np.int32)),
        ("shift", np.array([0, 31, 0, 0], np.int32)),
        *(("requantization", value) for value in (Mode.INTEGERS, 4, "FIXED_SINGLE_UP", None)),
        ("requantization", Requantization(Multiplier.FLOAT64, Rounding.HALF_EVEN)),
    ],
    "float": [
        *(("multiplier", value) for value in (NAN, INF, 0.0, -0.5, True, "1", None, 1, 1j)),
        *(("multiplier", np.full(4, value)) for value in (NAN, INF, 0.0, -0.5)),
        *(("multiplier", value) for value in (np.ones(3), ONES, WORDS, np.ones((1, 4)))),
        ("multiplier", MASKED(np.ones(4))),
    ],
    "sums": [
        *((n, v) for n, v in no_eight_bits("sums", SUMS) if getattr(v, "dtype", 0) != np.int32),
        *(("sums", SUMS.astype(kind)) for kind in (np.int8, np.int64, ">i4")),
        *(("way", value) for value in (None, 0, Mode.INTEGERS, ways.integers().record)),
        ("way", ways.requantized(Requantization.F32_EVEN, 0.5, **{**WAY, "channels": 3})),
        *no_kernel(),
    ],
    "activation": [
        *no_float32("x", REAL),
        ("x", REAL[0]),
        *no_integer("group", 1, 2**31 - 1),
        *no_kernel(),
        *(("per_row", flag) for flag in FLAGS),
    ],
    "weight-only integer": [
        *no_float32("x", REAL),
        ("x", REAL[0]),
        ("x", REAL[:, :2]),
        *no_kernel(),
        ("weight", B),
        ("weight", PACKED),
        ("weight", None),
        *(("per_row", flag) for flag in FLAGS),
    ],
    "weight-only float": [
        *no_float32("x", REAL),
        ("x", REAL[0]),
        ("x", REAL[:, :2]),
        *no_kernel(),
        ("weight", B),
        ("weight", PACKED),
        ("weight", None),
    ],
    "pack grouped": [
        *no_eight_bits("codes", B),
        ("codes", B[0]),
        *no_integer("bits", 4, 8),
        ("bits", 5),
        *no_integer("group", 1, 2**31 - 1),
        *no_float32("scales", np.ones((2, 4), np.float32)),
        ("scales", np.ones((1, 4), np.float32)),
        ("scales", np.full((2, 4), INF, np.float32)),
        ("scales", np.array([[1, 1, 1, NAN]] * 2, np.float32)),
        ("zero_points", np.zeros((1, 4), np.int8)),
        ("zero_points", np.full((2, 4), 128)),
        ("zero_points", np.full((2, 4), -129)),
        ("zero_points", np.zeros((2, 4), np.float32)),
        ("zero_points", MASKED(np.zeros((2, 4), np.int8))),
        ("zero_points", [[0] * 4] * 2),
        ("zero_points", np.zeros((2, 4), bool)),
    ],
    "erf": [
        ("x", value)
        for value in (
            [1.0],
            1.0,
            None,
            A,
            MASKED(REAL),
            REAL.astype(object),
            REAL.astype(np.complex64),
            REAL.astype(">f4"),
        )
    ],
    "roof": [*no_integer("steps", 0, 2**62), *no_kernel()],
    "read": [
        ("words", np.ones(63, np.int64)),
        ("words", np.ones((2, 64), np.int64)),
        ("words", np.ones(128, np.int64)[::2]),
        ("words", np.ones(64)),
        ("words", [1] * 64),
        *no_kernel(),
    ],
    "threads": no_integer("count", 1, 10**6),
    "naive": RUNG,
    "tiling": RUNG,
    "packing": RUNG,
}


@pytest.fixture
def same_threads() -> Iterator[None]:
    before = get_threads()
    yield
    set_threads(before)


@pytest.mark.usefixtures("same_threads")
@pytest.mark.parametrize("name", CALLS)
def test_hostile_calls_are_refused_by_name(name: str) -> None:
    function, good = CALLS[name]
    function(**good)
    silent, unclear = [], []
    for argument, value in HOSTILE[name]:
        try:
            result = function(**{**good, argument: value})
        except (TypeError, ValueError) as error:
            if not re.match(rf"(\w+ (is|has) .*, )?{argument}\b", str(error)):
                unclear.append((argument, value, error))
        except Exception as error:
            unclear.append((argument, value, error))
        else:
            silent.append((argument, value, result))
    assert not silent
    assert not unclear
    assert len(HOSTILE[name]) > 5


def test_what_is_said_of_shapes_and_of_one_number_among_many() -> None:
    scale = np.array([1, NAN, 1, 1], np.float32)
    with pytest.raises(ValueError, match=r"multiplier\[1\] is nan; allowed are numbers above 0"):
        matmul_requantized(A, B, multiplier=scale)
    with pytest.raises(ValueError, match=r"a has shape \(2, 3\), b \(2, 3\); allowed are \(M, K\)"):
        matmul(A, A)
    with pytest.raises(
        TypeError, match=r"dtype is int32; allowed are int8, uint8, int16 and uint16"
    ):
        matmul_requantized(A, B, multiplier=1.0, dtype=np.int32)
    with pytest.raises(ValueError, match=r"x has a height of 5 with padding; allowed are at least"):
        conv2d_integers(X, W, dilation=(3, 1))
    with pytest.raises(ValueError, match=r"zero_point\[2\] is 1048577; allowed are integers"):
        elementwise.quantize(
            REAL, 1.0, np.array([0, 0, 2**20 + 1], np.int32), qmin=0, qmax=1, axis=1
        )


def test_integers_of_numpy_are_integers() -> None:
    for one in (1, np.int8(1), np.uint64(1), np.array(1, np.int32)):
        assert matmul_integers(A, B, a_zero_point=one, b_zero_point=one).tolist() == [[0] * 4] * 2


def test_without_kernels_the_same_numbers_are_refused() -> None:
    """NumPy finds what compiled code finds."""
    compiled = operands._first_wrong(np.dtype(np.float32))
    rng = np.random.default_rng(0)
    for reals in operands.Reals:
        for number in (NAN, INF, -INF, 0, -0.0, -1, 2.0**-149, -(2.0**-149), operands.LARGEST):
            values = rng.random(5, np.float32) + np.float32(1)
            values[3] = number
            expected = -1 if reals.holds(values[3]) else 3
            assert compiled(values, *reals.value) == expected, (reals, number)
            assert operands._first_wrong_numpy(values, *reals.value) == expected, (reals, number)
