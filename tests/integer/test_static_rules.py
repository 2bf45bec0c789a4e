"""Static operators by every named arithmetic of requantization, on ties, against the oracle.

Scales in small ratios put a large share of the results exactly half way between two codes.
"""

from fractions import Fraction

import numpy as np
import pytest
from graph_models import Residual, pictures, settled
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx_node import run_node
from strategies import golden

import numq as nq
from numq import Requantization, integer
from numq.rounding import Rounding
from numq.verify import oracle

CODES = np.arange(-128, 128)
ratios = st.sampled_from([0.5, 0.25, 1.5, 0.75, 1.0, 2.0**-5, 3 * 2.0**-6, 7 * 2.0**-7])
bases = st.sampled_from([1.0, float(np.float32(0.1)), float(np.float32(0.003))])
codes8 = st.integers(-128, 127)


def params(scale, zero=0, format=nq.INT8):
    return nq.QParams(scale, zero, format)


def ends(out, relu=False):
    z = int(out.zero_point)
    return (max(z, out.format.qmin) if relu else out.format.qmin, out.format.qmax)


# Linear and convolution.


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@settings(max_examples=25)
@given(base=bases, ratio=ratios, x_zero_point=st.integers(0, 255), z_y=codes8, relu=st.booleans(),
       seed=st.integers(0, 2**32 - 1))  # fmt: skip
def test_linear_and_convolution_are_the_oracles(
    requantization, base, ratio, x_zero_point, z_y, relu, seed
):
    rng = np.random.default_rng(seed)
    x, out = params(base, x_zero_point, nq.UINT8), params(float(np.float32(base * 3)), z_y)
    scale = np.float32([ratio, ratio / 4, 3.0])
    w = nq.QTensor(rng.integers(-2, 3, (3, 4)), nq.QParams(scale, 0, nq.INT4, nq.PerChannel(0)))
    bias = rng.integers(-40, 40, 3) * (base * scale.astype(np.float64))
    codes = rng.integers(0, 256, (9, 4)).astype(np.uint8)
    layer = integer.prepare_linear(x, w, bias, out, requantization=requantization, relu=relu)
    acc = layer.accumulators(codes)
    dead = ~w.codes.any(axis=1)
    assume(not dead.any())  # their scale is chosen: tests of the bias
    wanted = [
        [
            oracle.requantize_by(
                requantization, int(a), (base, float(s), float(out.scale)), z_y, ends(out, relu)
            )
            for a, s in zip(row, scale, strict=True)
        ]
        for row in acc
    ]
    assert layer(codes).tolist() == wanted
    picture = codes.T.reshape(1, 4, 3, 3)
    kernel = nq.QTensor(w.codes.reshape(3, 4, 1, 1), w.qparams)
    conv = integer.prepare_conv2d(x, kernel, bias, out, requantization=requantization, relu=relu)
    got = conv(picture)
    assert got.reshape(3, 9).T.tolist() == wanted


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@pytest.mark.parametrize("groups", [1, 3])
def test_convolution_of_windows_is_the_oracles(requantization, groups):
    rng = np.random.default_rng(groups)
    x, out = params(0.5, 130, nq.UINT8), params(1.0, -3)
    w = nq.QTensor(rng.integers(-2, 3, (3, 3 // groups, 3, 2)),
                   nq.QParams([0.25, 0.5, 1.5], 0, nq.INT4, nq.PerChannel(0)))  # fmt: skip
    codes = rng.integers(100, 160, (2, 3, 6, 5)).astype(np.uint8)
    move = {"stride": (2, 1), "padding": ((1, 1), (0, 1)), "groups": groups}
    layer = integer.prepare_conv2d(
        x, w, [0.5, -1.0, 3.0], out, requantization=requantization, **move
    )
    exact = nq.autograd.conv2d(codes - 130.0, w.codes.astype(np.float64),
                               np.array([4.0, -4.0, 4.0]), **move).data  # fmt: skip
    got = layer(codes)
    ties = 0
    for (n, o, i, j), code in np.ndenumerate(got):
        acc, s_w = int(exact[n, o, i, j]), [0.25, 0.5, 1.5][o]
        assert code == oracle.requantize_by(requantization, acc, (0.5, s_w, 1.0), -3, (-128, 127))
        ties += (Fraction(acc) * Fraction(s_w) / 2) % 1 == Fraction(1, 2)
    assert ties > 10


# Means.


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@settings(max_examples=20)
@given(base=bases, ratio=ratios, x_zero_point=codes8, z_y=codes8, seed=st.integers(0, 2**32 - 1))
def test_average_pools_are_the_oracles(requantization, base, ratio, x_zero_point, z_y, seed):
    x, out = params(base, x_zero_point), params(float(np.float32(base * ratio)), z_y)
    codes = np.random.default_rng(seed).integers(-128, 128, (1, 2, 4, 4)).astype(np.int8)
    layer = integer.prepare_average(x, out, requantization=requantization)
    got = integer.avg_pool2d(codes, layer, (2, 3), stride=(1, 1), padding=((1, 0), (1, 1)))
    whole = np.pad(codes.astype(int) - x_zero_point, ((0, 0), (0, 0), (1, 0), (1, 1)))
    inside = np.pad(np.ones((4, 4), int), ((1, 0), (1, 1)))
    for (_, c, i, j), code in np.ndenumerate(got):
        acc = whole[0, c, i : i + 2, j : j + 3].sum()
        count = inside[i : i + 2, j : j + 3].sum()
        scales = (base, float(out.scale))
        assert code == oracle.mean_by(
            requantization, int(acc), int(count), scales, z_y, (-128, 127)
        )
    everything = integer.global_avg_pool2d(codes, layer)
    for (_, c, _, _), code in np.ndenumerate(everything):
        acc = int((codes[0, c].astype(int) - x_zero_point).sum())
        assert code == oracle.mean_by(
            requantization, acc, 16, (base, float(out.scale)), z_y, (-128, 127)
        )


FIXED = [
    requantization
    for requantization in Requantization.NAMED
    if requantization is not Requantization.F32_EVEN
]


@pytest.mark.parametrize("requantization", FIXED)
@pytest.mark.parametrize("ratio", [1.0, 1.3, 0.37, 2.0, 300.0])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 9, 49, 64, 65, 2**21 + 1, 2**22])
def test_means_are_exact_but_beside_ties(requantization, ratio, count):
    """A sum of few codes is itself about a step: rounded twice, it needs bits behind the point."""
    x, out = params(0.1, 3), params(0.1 / ratio, -5)
    layer = integer.prepare_average(x, out, requantization=requantization)
    ends = np.array([-131 * count, 124 * count])
    halves = (np.arange(-300, 300) * count / (2 * ratio)).round().astype(np.int64)
    sums = np.unique(np.clip(halves[:, None] + np.arange(-2, 3), *ends))
    got = layer.mean(sums.astype(np.int32), count)
    exact_ratio = Fraction(float(x.scale)) / Fraction(float(out.scale))
    slack = exact_ratio / (2**20 if requantization in TWENTY_BITS else 2**22)
    for acc, code in zip(sums.tolist(), got.tolist(), strict=True):
        exact = min(max(exact_ratio * acc / count - 5, Fraction(-128)), Fraction(127))
        assert abs(code - exact) <= Fraction(1, 2) + slack


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6, 9, 10, 49, 98])
def test_a_mean_on_one_scale_is_litert_s_division(count):
    """AVERAGE_POOL_2D of LiteRT's reference kernel: (acc ± count/2) / count, C's division."""
    layer = integer.prepare_average(
        params(0.1), params(0.1), requantization=Requantization.GEMMLOWP_DOUBLE
    )
    sums = np.arange(-128 * count, 127 * count + 1)
    wanted = np.sign(sums) * ((np.abs(sums) + count // 2) // count)
    assert (layer.mean(sums.astype(np.int32), count) == wanted).all()


# Addition.


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@settings(max_examples=25)
@given(base=bases, r_a=ratios, r_b=ratios, zeros=st.tuples(codes8, codes8, codes8),
       relu=st.booleans(), seed=st.integers(0, 2**32 - 1))  # fmt: skip
def test_addition_is_the_oracles(requantization, base, r_a, r_b, zeros, relu, seed):
    scales = [float(np.float32(base * r)) for r in (r_a, r_b, 1)]
    a, b, out = (params(s, z) for s, z in zip(scales, zeros, strict=True))
    layer = integer.prepare_add(a, b, out, requantization=requantization, relu=relu)
    x, y = np.random.default_rng(seed).integers(-128, 128, (2, 40)).astype(np.int8)
    wanted = [
        oracle.add_by(requantization, (int(p), int(q)), tuple(scales), zeros, ends(out, relu))
        for p, q in zip(x, y, strict=True)
    ]
    assert layer(x, y).tolist() == wanted


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@given(
    scales=st.tuples(*[st.floats(2**-12, 4, width=32)] * 3),
    zeros=st.tuples(codes8, codes8, codes8),
    format=st.sampled_from([nq.INT8, nq.UINT4]),
)
@settings(max_examples=20)
def test_addition_is_exact_but_beside_ties(requantization, scales, zeros, format):
    zeros = [
        min(max(z, f.qmin), f.qmax) for z, f in zip(zeros, (format, nq.INT8, nq.INT8), strict=True)
    ]
    a, b, out = (params(s, z, f) for s, z, f in zip(scales, zeros, (format, nq.INT8, nq.INT8),
                                                     strict=True))  # fmt: skip
    layer = integer.prepare_add(a, b, out, requantization=requantization)
    x, y = (
        np.arange(format.qmin, format.qmax + 1)[::5].astype(format.dtype),
        np.int8([-128, -3, 0, 77, 127]),
    )
    got = layer(x[:, None], y)
    s_a, s_b, s_y = map(Fraction, scales)
    # float32 sums of up to 2^8 steps; 20 bits behind the larger scale; 31 bits behind the point
    largest = 512 * max(s_a, s_b) / s_y + 256
    slack = (
        largest * Fraction(1, 2**18)
        if requantization in TWENTY_BITS
        else largest * Fraction(1, 2**21)
    )
    for (i, j), code in np.ndenumerate(got):
        exact = (s_a * (int(x[i]) - zeros[0]) + s_b * (int(y[j]) - zeros[1])) / s_y + zeros[2]
        assert abs(int(code) - min(max(exact, -128), 127)) <= Fraction(1, 2) + slack


TWENTY_BITS = (Requantization.GEMMLOWP_DOUBLE, Requantization.RUY_DOUBLE_UP)


@pytest.mark.parametrize("requantization", Requantization.NAMED)
def test_just_below_a_tie_is_rounded_down(requantization):
    """A code of 0.4999 steps and a zero point of 154; a coarse multiplier makes it 155."""
    share = 0.4999 if requantization in TWENTY_BITS else 0.499998
    a, b = params(share, 0, nq.UINT8), params(0.013, 0, nq.UINT8)
    layer = integer.prepare_add(a, b, params(1.0, 154, nq.UINT8), requantization=requantization)
    assert layer(np.uint8([1]), np.uint8([0])) == [154]
    halves = integer.prepare_add(
        params(0.5), params(0.25), params(1.0, 1), requantization=requantization
    )
    got = halves(np.int8([1, 3, -1, -3, 1]), np.int8([0, 0, 0, 0, 3])).tolist()
    away, even, up = [2, 3, 0, -1, 2], [2, 2, 0, 0, 2], [2, 3, 1, 0, 2]
    assert got == {"F32_EVEN": even, "F64_AWAY": away, "GEMMLOWP_DOUBLE": away}.get(
        requantization.name, up
    )


@pytest.mark.parametrize(("meta", "data"), golden("static_add"))
def test_addition_is_that_of_the_release_to_the_bit(meta, data):
    a, b, out = (params(s, z) for s, z in zip(data["scales"], meta["zero_points"], strict=True))
    mine, rivals = {
        "onnxruntime": (Requantization.F32_EVEN, [Requantization.F64_AWAY]),
        "LiteRT": (Requantization.GEMMLOWP_DOUBLE, [Requantization.RUY_DOUBLE_UP]),
    }[meta["oracle"].split()[0]]
    x, y = data["codes"][:, None], data["codes"]
    got = integer.prepare_add(a, b, out, requantization=mine)(x, y)
    np.testing.assert_array_equal(got, data["y"])
    s_a, s_b, s_y = (Fraction(float(s)) for s in data["scales"])
    if (2 * s_a / s_y) % 1 == 0 and (2 * s_b / s_y) % 1 == 0:  # then many sums are ties
        for rival in rivals:
            other = integer.prepare_add(a, b, out, requantization=rival)(x, y)
            assert (other != data["y"]).any()


def test_shapes_broadcast_and_are_named():
    layer = integer.prepare_add(params(1.0), params(1.0), params(1.0))
    empty = layer(np.zeros((2, 0), np.int8), np.zeros((1, 1), np.int8))
    assert empty.shape == (2, 0)
    strided = np.arange(12, dtype=np.int8).reshape(3, 4).T[::-1, ::2]
    assert (layer(strided, np.int8(1)) == strided + 1).all()
    with pytest.raises(
        ValueError, match=r"a has shape \(2,\), b \(3,\); allowed are shapes that broadcast"
    ):
        layer(np.zeros(2, np.int8), np.zeros(3, np.int8))
    with pytest.raises(ValueError, match=r"a has scale 1e.09, out 0.1, too small for it"):
        integer.prepare_add(params(1e9), params(1.0), params(0.1))
    with pytest.raises(ValueError, match=r"GEMMLOWP_DOUBLE is a ratio below 2.19"):
        integer.prepare_add(params(1.0), params(1e6), params(1.0),
                               requantization=Requantization.GEMMLOWP_DOUBLE)  # fmt: skip
    with pytest.raises(ValueError, match="out is int16; allowed in an integer kernel are integers"):
        integer.prepare_add(params(1.0), params(1.0), params(1.0, 0, nq.INT16))
    assert repr(layer) == "Add(int8 + int8 to int8)"


# Concatenation.


@pytest.mark.parametrize("requantization", Requantization.NAMED)
@given(base=bases, ratio=ratios, x_zero_point=codes8, z_y=codes8)
@settings(max_examples=20)
def test_concatenation_is_the_oracles(requantization, base, ratio, x_zero_point, z_y):
    x, out = params(float(np.float32(base * ratio)), x_zero_point), params(base, z_y)
    assume(x != out)
    layer = integer.prepare_concat([out, x], out, requantization=requantization)
    codes = CODES.astype(np.int8)
    got = layer([codes[:3], codes], 0).tolist()
    if requantization is Requantization.F32_EVEN:
        products = [oracle.nearest_float(oracle.dequantize(int(c), float(x.scale), x_zero_point))
                    for c in CODES]  # fmt: skip
        wanted = [oracle.quantize(float(v), base, z_y, nq.INT8, nq.rules.ONNX) for v in products]
    else:
        scales = (float(x.scale), 1.0, base)
        wanted = [
            oracle.requantize_by(requantization, int(c) - x_zero_point, scales, z_y, (-128, 127))
            for c in CODES
        ]
    assert got == codes[:3].tolist() + wanted


def test_concatenation_keeps_what_means_the_same_and_names_what_does_not_fit():
    a, b = params(0.5, 3), params(0.25, -1)
    layer = integer.prepare_concat([a, b], a)
    y = layer([np.int8([[1, 2]]), np.int8([[3, -1]])], 1)
    assert y.tolist() == [[1, 2, 5, 3]]  # 0.25·4 = 0.5·(5 − 3); zero is zero
    square = np.zeros((2, 2), np.int8)
    with pytest.raises(
        ValueError, match=r"arrays has shapes \[\(2, 2\), \(1, 2\)\]; allowed are such"
    ):
        layer([square, square[:1]], 1)
    with pytest.raises(ValueError, match="arrays has shapes"):
        layer([square, square[0]], 0)
    with pytest.raises(ValueError, match="axis is 2; allowed are integers from -2 to 1"):
        layer([square, square], 2)
    with pytest.raises(TypeError, match=r"arrays\[1\] has dtype uint8"):
        layer([square, square.astype(np.uint8)], 0)
    with pytest.raises(ValueError, match="inputs is empty"):
        integer.prepare_concat([], a)
    with pytest.raises(TypeError, match=r"inputs\[1\] is 1; allowed is QParams"):
        integer.prepare_concat([a, 1], a)


# Pools refuse what the float ones refuse.


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (((2, 2), (1, 1), ((2, 0), (0, 0))), ValueError, r"padding is .*less than the window"),
        (((2, 2), (1, 1), ((0, 0), (0, 2))), ValueError, "padding is"),
        (((2, 2), (1, 1), ((-1, 0), (0, 0))), ValueError, r"padding\[0\]\[0\] is -1"),
        (((2, 2), (1, 1), ((0, 0),)), ValueError, r"padding is \(\(0, 0\),\); allowed is \(\(top"),
        (((2, 2), (1, 1), 1), TypeError, "padding is 1"),
        (((2, 2), (0, 1)), ValueError, r"stride\[0\] is 0"),
        (((0, 2), (1, 1)), ValueError, r"size\[0\] is 0"),
        (((2.0, 2), (1, 1)), TypeError, r"size\[0\] is 2.0"),
        (((2,), (1, 1)), ValueError, r"size is \(2,\); allowed are 2 integers"),
        (((5, 2), (1, 1)), ValueError, r"\(5, 2\); allowed is what fits pictures"),
    ],
)
def test_windows_of_integer_pools_are_checked(arguments, error, message):
    codes = np.zeros((1, 1, 4, 4), np.int8)
    layer = integer.prepare_average(params(1.0), params(1.0))
    size, stride, *rest = arguments
    padding = {"padding": rest[0]} if rest else {}
    with pytest.raises(error, match=message):
        integer.max_pool2d(codes, *arguments)
    with pytest.raises(error, match=message):
        integer.avg_pool2d(codes, layer, size, stride=stride, **padding)


def test_pools_name_the_shape_of_what_came():
    layer = integer.prepare_average(params(1.0), params(1.0))
    for shape in ((4, 4), (1, 4, 4), (1, 1, 1, 4, 4)):
        codes = np.zeros(shape, np.int8)
        for call in (
            lambda c=codes: integer.max_pool2d(c, (1, 1), (1, 1)),
            lambda c=codes: integer.avg_pool2d(c, layer, (1, 1), stride=(1, 1)),
            lambda c=codes: integer.global_avg_pool2d(c, layer),
        ):
            with pytest.raises(ValueError, match=r"codes has shape .*; allowed is \(N, C, H, W\)"):
                call()
    with pytest.raises(ValueError, match=r"1 to 2..22 pixels"):
        integer.global_avg_pool2d(np.zeros((1, 1, 0, 4), np.int8), layer)
    with pytest.raises(ValueError, match="what fits pictures"):
        integer.max_pool2d(np.zeros((1, 1, 0, 4), np.int8), (2, 2), (1, 1), ((1, 1), (0, 0)))
    four = np.int8([[[[-8, -7], [7, 0]]]])  # codes of an int4 tensor, padded: nothing beyond −8
    padded = integer.max_pool2d(four, (2, 2), (1, 1), ((1, 1), (1, 1)))
    assert padded.min() == -8
    with pytest.raises(ValueError, match=r"x_scale / count / the scale of out is 1e.*30"):
        integer.prepare_average(params(1.0), params(1e-30))
    with pytest.raises(TypeError, match="count_include_pad is 1"):
        integer.avg_pool2d(four, layer, (1, 1), stride=(1, 1), count_include_pad=1)


# onnxruntime's own kernels, live.


def numbers(p):
    return np.float32(p.scale), p.zero_point.astype(p.format.dtype)


@pytest.mark.parametrize("format", [nq.INT8, nq.UINT8])
@pytest.mark.parametrize(
    ("s_a", "s_b", "s_y"),
    [
        (0.5, 0.25, 1.0),
        (0.3, 0.1, 0.2),
        (0.03, 0.011, 0.037),
        (0.06, 0.12, 0.24),
        (0.07, 0.03, 0.02),
    ],
)
def test_addition_is_onnxruntimes(format, s_a, s_b, s_y):
    """All 65 536 pairs of codes, on ties and beside them."""
    rng = np.random.default_rng(int(1000 * s_a))
    a, b, out = (
        params(s, int(rng.integers(format.qmin, format.qmax)), format) for s in (s_a, s_b, s_y)
    )
    codes = np.arange(format.qmin, format.qmax + 1).astype(format.dtype)
    x, y = (np.ascontiguousarray(c) for c in np.meshgrid(codes, codes))
    constants = [None, *numbers(a), None, *numbers(b), *numbers(out)]
    theirs = run_node("QLinearAdd", constants, x, y)
    ours = integer.prepare_add(a, b, out)(x, y)
    assert (ours == theirs).all()


@pytest.mark.parametrize("format", [nq.INT8, nq.UINT8])
def test_concatenation_and_means_are_onnxruntimes(format):
    rng = np.random.default_rng(4)
    codes = np.arange(format.qmin, format.qmax + 1).astype(format.dtype)
    for s_x, s_y in ((0.3, 0.2), (0.5, 1.0), (0.1, 0.3), (0.05, 0.037)):
        x, out = (
            params(s, int(rng.integers(format.qmin, format.qmax)), format) for s in (s_x, s_y)
        )
        theirs = run_node("QLinearConcat", [*numbers(out), None, *numbers(x)], codes, axis=0)
        layer = integer.prepare_concat([x], out)
        assert (layer([codes], 0) == theirs).all()
        picture = rng.integers(format.qmin, format.qmax + 1, (1, 99, 2, 3)).astype(format.dtype)
        average = integer.prepare_average(x, out, requantization=Requantization.F32_EVEN)
        constants = [None, *numbers(x), *numbers(out)]
        theirs = run_node("QLinearGlobalAveragePool", constants, picture)
        assert (integer.global_avg_pool2d(picture, average) == theirs).all()
        shape = {"kernel_shape": [2, 2], "strides": [1, 1]}
        theirs = run_node("QLinearAveragePool", constants, picture, **shape).astype(int)
        ours = integer.avg_pool2d(picture, average, (2, 2), stride=(1, 1))
        assert (np.abs(ours - theirs) <= 1).all()  # ties go another way: floats are added there


def test_rounding_of_ties_tells_the_rules_apart():
    layers = {
        requantization: integer.prepare_average(
            params(1.0), params(1.0), requantization=requantization
        )
        for requantization in Requantization.NAMED
    }
    codes = np.int8([[[[1, 0]], [[3, 0]], [[-1, 0]], [[-3, 0]]]])
    got = {requantization.name: integer.global_avg_pool2d(codes, layer).ravel().tolist()
           for requantization, layer in layers.items()}  # fmt: skip
    up, away = [1, 2, 0, -1], [1, 2, -1, -2]
    assert got == {
        "F32_EVEN": [0, 2, 0, -2], "F64_AWAY": away, "GEMMLOWP_DOUBLE": away,
        "RUY_DOUBLE_UP": up, "FIXED_SINGLE_UP": up,
    }  # fmt: skip
    assert len(Rounding) > 5


@pytest.mark.parametrize(
    "requantization", [Requantization.F32_EVEN, Requantization.GEMMLOWP_DOUBLE]
)
def test_the_arithmetic_of_a_flow_reaches_every_operator(requantization):
    rng = np.random.default_rng(0)
    model, x = Residual(rng), pictures(rng, 2)
    network = nq.flows.static(settled(model, x), [x], requantization=requantization)
    named = {n.op: n.attributes["requantization"] for n in network.graph.nodes
             if "requantization" in n.attributes}  # fmt: skip
    assert set(named) == {"QLinearConv", "QGemm", "QLinearAdd", "QLinearConcat",
                          "QLinearAveragePool", "QLinearGlobalAveragePool"}  # fmt: skip
    assert set(named.values()) == {requantization}
