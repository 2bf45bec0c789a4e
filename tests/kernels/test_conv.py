"""Convolution: every form against Python integers, int64 and, through any library, float64."""

from __future__ import annotations

import itertools
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matrices import FAST, TYPES, each_compiled, each_kernel, integers, wrap
from numpy.typing import NDArray

from numq.kernels import Isa, get_threads, set_threads
from numq.kernels.convolution.conv import conv2d_dequantized, conv2d_integers, conv2d_requantized
from numq.kernels.convolution.prepared import MOST_PLANS, prepare_conv2d
from numq.kernels.convolution.shape import Layout
from numq.kernels.convolution.weights import pack_conv_weight
from numq.kernels.product import ways
from numq.kernels.reference import dequantize_numpy, requantize_numpy
from numq.requantization import Requantization

each_layout = pytest.mark.parametrize("layout", Layout, ids=lambda layout: layout.value)


def oracle(
    x: NDArray[Any], w: NDArray[Any], x_zero: int, w_zero: list[int], bias: list[int], **steps: Any
) -> list[Any]:
    """Scalar loops in Python integers over NCHW; outside the image there is nothing to add."""
    (sh, sw), (dh, dw) = steps["stride"], steps["dilation"]
    (top, bottom), (left, right) = steps["padding"]
    n, _, height, width = x.shape
    o, each, kh, kw = w.shape
    out_h = (height + top + bottom - dh * (kh - 1) - 1) // sh + 1
    out_w = (width + left + right - dw * (kw - 1) - 1) // sw + 1

    def value(image: int, out: int, oy: int, ox: int) -> int:
        total, first = bias[out], out // (o // steps["groups"]) * each
        for c, i, j in itertools.product(range(each), range(kh), range(kw)):
            y, z = oy * sh + i * dh - top, ox * sw + j * dw - left
            if 0 <= y < height and 0 <= z < width:
                pixel = int(x[image, first + c, y, z]) - x_zero
                total += pixel * (int(w[out, c, i, j]) - w_zero[out])
        return wrap(total)

    return [
        [[[value(m, k, y, z) for z in range(out_w)] for y in range(out_h)] for k in range(o)]
        for m in range(n)
    ]


def exact(
    x: NDArray[Any], w: NDArray[Any], x_zero: int, w_zero: Any, bias: Any, **steps: Any
) -> NDArray[np.int32]:
    """Windows of the image in int64, one sum over all of a window; modulo 2**32."""
    (sh, sw), (dh, dw) = steps["stride"], steps["dilation"]
    o, each, kh, kw = w.shape
    groups = steps["groups"]
    image = np.pad(x.astype(np.int64) - x_zero, ((0, 0), (0, 0), *steps["padding"]))
    covered = (dh * (kh - 1) + 1, dw * (kw - 1) + 1)
    windows = np.lib.stride_tricks.sliding_window_view(image, covered, axis=(2, 3))
    windows = windows[:, :, ::sh, ::sw, ::dh, ::dw].astype(np.float64)  # sums stay below 2**53
    weight = w.astype(np.float64) - np.broadcast_to(w_zero, o)[:, None, None, None]
    parts = [
        np.einsum(
            "nchwij,ocij->nohw",
            windows[:, g * each : (g + 1) * each],
            weight[g * o // groups : (g + 1) * o // groups],
            optimize=True,
        )
        for g in range(groups)
    ]
    sums = np.concatenate(parts, axis=1).astype(np.int64)
    return (sums + np.reshape(bias, (-1, 1, 1))).astype(np.int32)


def laid_out(x: NDArray[Any], layout: Layout) -> NDArray[Any]:
    return x if layout is Layout.NCHW else np.ascontiguousarray(x.transpose(0, 2, 3, 1))


def nchw(x: NDArray[Any], layout: Layout) -> NDArray[Any]:
    return x if layout is Layout.NCHW else x.transpose(0, 3, 1, 2)


@st.composite
def convolutions(draw: st.DrawFn, most: int, channels: int) -> dict[str, Any]:
    """Arguments of a convolution whose kernel fits the image with its border."""

    def number(low: int, high: int) -> int:
        return draw(st.integers(low, high))

    def pair(low: int, high: int) -> tuple[int, int]:
        return number(low, high), number(low, high)

    rng = np.random.default_rng(number(0, 2**32 - 1))
    groups = draw(st.sampled_from([1, 1, 1, 2, 3, 5]))
    each = draw(st.sampled_from([1, number(1, channels)]))
    outputs = groups * draw(st.sampled_from([1, number(1, channels)]))
    kernel, stride, dilation = pair(1, 4), pair(1, 3), pair(1, 3)
    padding = (pair(0, 4), pair(0, 4))
    least = [
        max(1, d * (k - 1) + 1 - sum(p)) for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    sizes = [least[0] + number(0, most), least[1] + number(0, most)]
    x_type, w_type = draw(st.sampled_from(TYPES)), draw(st.sampled_from(TYPES))
    limits = np.iinfo(x_type)
    return {
        "x": integers(rng, x_type, draw(st.sampled_from([0, 1, 1, 3])), groups * each, *sizes),
        "w": integers(rng, w_type, outputs, each, *kernel),
        "x_zero": draw(st.sampled_from([0, int(limits.min), int(limits.max), 3])),
        "w_zero": draw(
            st.sampled_from([0, 128, -128, rng.integers(-128, 256, outputs).astype(np.int32)])
        ),
        "bias": rng.integers(-(2**31), 2**31, outputs).astype(np.int32),
        "steps": {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups},
    }


def integers_of(c: dict[str, Any], isa: Isa, layout: Layout, w: Any = None) -> NDArray[np.int32]:
    sums = conv2d_integers(
        laid_out(c["x"], layout),
        c["w"] if w is None else w,
        **c["steps"],
        layout=layout,
        x_zero_point=c["x_zero"],
        w_zero_point=c["w_zero"],
        bias=c["bias"],
        isa=isa,
    )
    assert sums.dtype == np.int32
    return nchw(sums, layout)


@each_kernel
@each_layout
@settings(max_examples=12, deadline=None)
@given(c=convolutions(most=4, channels=3))
def test_tiny_convolutions_against_python_integers(
    isa: Isa, layout: Layout, c: dict[str, Any]
) -> None:
    zeros = np.broadcast_to(c["w_zero"], len(c["w"])).tolist()
    expected = oracle(c["x"], c["w"], c["x_zero"], zeros, c["bias"].tolist(), **c["steps"])
    assert integers_of(c, isa, layout).tolist() == expected


@each_kernel
@each_layout
@settings(max_examples=30, deadline=None)
@given(c=convolutions(most=40, channels=20))
def test_all_ways_out_of_any_convolution(isa: Isa, layout: Layout, c: dict[str, Any]) -> None:
    arguments = c["x"], c["w"], c["x_zero"], c["w_zero"]
    expected = exact(*arguments, c["bias"], **c["steps"])
    packed = pack_conv_weight(c["w"], groups=c["steps"]["groups"], isa=isa)
    assert (integers_of(c, isa, layout) == expected).all()
    assert (integers_of(c, isa, layout, packed) == expected).all()

    outputs = len(c["w"])
    rng = np.random.default_rng(0)
    factors = (rng.random(outputs, np.float32) * np.float32(2.0**-20)).astype(np.float32)
    given_ = {
        **c["steps"],
        "layout": layout,
        "x_zero_point": c["x_zero"],
        "w_zero_point": c["w_zero"],
    }
    x = laid_out(c["x"], layout)
    codes = conv2d_requantized(
        x, packed, multiplier=factors, zero_point=3, qmin=-7, bias=c["bias"], **given_
    )
    flat = expected.transpose(0, 2, 3, 1).reshape(-1, outputs)
    assert codes.dtype == np.int8
    got = nchw(codes, layout).transpose(0, 2, 3, 1).reshape(-1, outputs)
    assert (got == requantize_numpy(flat, factors, 3, -7, 127)).all()

    plain = exact(*arguments, 0, **c["steps"]).transpose(0, 2, 3, 1).reshape(-1, outputs)
    bias = rng.random(outputs, np.float32)
    for shift in (None, bias):
        real = conv2d_dequantized(x, packed, scale=factors, bias=shift, **given_)
        assert real.dtype == np.float32
        got = nchw(real, layout).transpose(0, 2, 3, 1).reshape(-1, outputs)
        ones = np.ones(len(plain), np.float32)
        assert (got == dequantize_numpy(plain, ones, factors, shift)).all()


#: (batch, channels, height, width, outputs, kernel, stride, border, dilation, groups)
LAYERS = {
    "stem": (1, 3, 64, 66, 64, 7, 2, 3, 1, 1),
    "deep": (1, 300, 7, 7, 67, 3, 1, 1, 1, 1),
    "pointwise": (2, 130, 20, 27, 70, 1, 1, 0, 1, 1),
    "pointwise, deep": (1, 2050, 7, 7, 33, 1, 1, 0, 1, 1),
    "pointwise, every other": (1, 64, 28, 28, 96, 1, 2, 0, 1, 1),
    "pointwise with a border": (1, 17, 9, 9, 20, 1, 1, 2, 1, 1),
    "wide": (1, 32, 56, 120, 64, 3, 1, 1, 1, 1),
    "many pixels": (1, 5, 130, 131, 13, 3, 1, 1, 1, 1),
    "every third, far apart": (3, 9, 31, 29, 20, 3, 3, 4, 4, 1),
    "patches": (1, 3, 64, 64, 40, 16, 16, 0, 1, 1),
    "groups": (2, 64, 14, 14, 96, 3, 1, 1, 1, 32),
    "depthwise": (2, 100, 14, 15, 100, 3, 1, 1, 1, 100),
    "depthwise, every other": (1, 33, 28, 29, 33, 5, 2, 2, 1, 33),
    "depthwise, twice": (1, 40, 9, 70, 80, 3, 1, 2, 2, 40),
    "larger than the image": (1, 20, 3, 2, 40, 7, 1, 3, 1, 1),
}


def layer(name: str, x_type: Any = np.uint8, w_type: Any = np.int8) -> dict[str, Any]:
    n, c, h, width, o, k, s, p, d, groups = LAYERS[name]
    rng = np.random.default_rng(0)
    return {
        "x": integers(rng, x_type, n, c, h, width),
        "w": integers(rng, w_type, o, c // groups, k, k),
        "x_zero": 100,
        "w_zero": 0,
        "bias": rng.integers(-999, 999, o).astype(np.int32),
        "steps": {
            "stride": (s, s),
            "padding": ((p, p), (p, p)),
            "dilation": (d, d),
            "groups": groups,
        },
    }


@pytest.fixture
def one_and_two_threads() -> Any:
    before = get_threads()
    yield (1, 2) if before > 1 else (1,)
    set_threads(before)


@each_kernel
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_networks_on_any_number_of_threads(
    isa: Isa, name: str, one_and_two_threads: Any
) -> None:
    for x_type, w_type in itertools.product(TYPES, TYPES):
        c = layer(name, x_type, w_type)
        steps = c["steps"]
        expected = exact(c["x"], c["w"], c["x_zero"], c["w_zero"], c["bias"], **steps)
        packed = pack_conv_weight(c["w"], groups=steps["groups"], isa=isa)
        for threads, layout in itertools.product(one_and_two_threads, Layout):
            set_threads(threads)
            assert (integers_of(c, isa, layout, packed) == expected).all()


def test_a_float_convolution_of_another_library() -> None:
    functional = pytest.importorskip("torch.nn.functional")
    import torch

    for name in ("stem", "groups", "every third, far apart", "depthwise"):
        c = layer(name)
        image = torch.tensor(c["x"].astype(np.float64) - c["x_zero"])
        weight, bias = torch.tensor(c["w"]).double(), torch.tensor(c["bias"]).double()
        steps = c["steps"]
        expected = functional.conv2d(
            image,
            weight,
            bias,
            steps["stride"],
            [p[0] for p in steps["padding"]],
            steps["dilation"],
            steps["groups"],
        )
        assert (integers_of(c, FAST, Layout.NCHW) == expected.numpy()).all()


@each_kernel
@each_layout
def test_extreme_products_wrap(isa: Isa, layout: Layout) -> None:
    """The largest products, and sums just past 2**31."""
    x, w = np.full((1, 1024, 6, 6), -128, np.int8), np.full((20, 1024, 3, 3), -128, np.int8)
    same = {"stride": (1, 1), "padding": ((1, 1), (1, 1)), "dilation": (1, 1), "groups": 1}
    bias = np.full(20, 2**31 - 1, np.int32)
    for x_zero, w_zero in ((0, 0), (127, 127), (-128, 5)):
        c = {"x": x, "w": w, "x_zero": x_zero, "w_zero": w_zero, "bias": bias, "steps": same}
        expected = exact(x, w, x_zero, w_zero, bias, **same)
        assert (integers_of(c, isa, layout) == expected).all()


@each_kernel
@each_layout
@pytest.mark.parametrize("x_zero", [0, 255, 37])
def test_the_border_is_the_zero_point(isa: Isa, layout: Layout, x_zero: int) -> None:
    """An image of nothing but its zero point is zero everywhere, its border included."""
    x, w = np.full((1, 5, 8, 9), x_zero, np.uint8), np.full((6, 5, 3, 3), 77, np.int8)
    sums = conv2d_integers(
        laid_out(x, layout),
        w,
        padding=((1, 2), (3, 1)),
        layout=layout,
        x_zero_point=x_zero,
        isa=isa,
    )
    assert not sums.any()


@each_kernel
@each_layout
def test_views_of_any_strides(isa: Isa, layout: Layout) -> None:
    rng = np.random.default_rng(2)
    x, w = integers(rng, np.int8, 2, 12, 18, 20), integers(rng, np.int8, 9, 6, 6, 3)
    views = x[::-1, ::2, ::3, 1::2], w[::-1, :, ::2].swapaxes(2, 3)[..., ::-1]
    expected = conv2d_integers(*(np.ascontiguousarray(v) for v in views), isa=Isa.NUMPY)
    image = views[0] if layout is Layout.NCHW else views[0].transpose(0, 2, 3, 1)
    assert (
        nchw(conv2d_integers(image, views[1], layout=layout, isa=isa), layout) == expected
    ).all()


@each_kernel
@pytest.mark.parametrize("stride", [(1, 2**31 - 1), (2**31 - 1, 1), (10**9, 10**9)])
def test_a_step_beyond_the_picture_takes_no_memory(isa: Isa, stride: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    x, w = integers(rng, np.int8, 2, 8, 10, 10), integers(rng, np.int8, 8, 8, 3, 3)
    within = tuple(min(step, 10) for step in stride)
    expected = conv2d_integers(x, w, stride=within, isa=Isa.NUMPY)
    assert (conv2d_integers(x, w, stride=stride, isa=isa) == expected).all()


@each_kernel
@each_layout
def test_nothing_to_convolve(isa: Isa, layout: Layout) -> None:
    def run(batch: int, channels: int, outputs: int) -> NDArray[np.int32]:
        x, w = (
            np.ones((batch, channels, 4, 5), np.int8),
            np.ones((outputs, channels, 2, 2), np.int8),
        )
        bias = np.arange(outputs, dtype=np.int32)
        return nchw(
            conv2d_integers(laid_out(x, layout), w, bias=bias, layout=layout, isa=isa), layout
        )

    assert run(0, 3, 2).shape == (0, 2, 3, 4)
    assert run(1, 3, 0).shape == (1, 0, 3, 4)
    assert (run(2, 0, 3) == np.arange(3)[:, None, None]).all()


@each_compiled
def test_a_packed_weight_is_read_only_and_counts_what_it_holds(isa: Isa) -> None:
    w = np.ones((8, 4, 3, 3), np.int8)
    packed = pack_conv_weight(w, isa=isa)
    w[...] = 0
    before = packed.nbytes
    assert (conv2d_integers(np.ones((1, 4, 3, 3), np.int8), packed) == 36).all()
    assert packed.nbytes > before >= w.nbytes
    with pytest.raises(ValueError, match="read-only"):
        packed.values[...] = 0


#: (channels, outputs, groups) of small layers: grouped, depthwise, depthwise twice
SMALL = [(6, 22, 2), (19, 19, 19), (4, 8, 4)]
RULES = {
    Requantization.F32_EVEN: np.float32(2.0**-7),
    Requantization.F64_AWAY: np.float64(2.0**-7),
    Requantization.FIXED_SINGLE_UP: np.int32(2**30),
    Requantization.GEMMLOWP_DOUBLE: np.int32(2**30),
    Requantization.RUY_DOUBLE_UP: np.int32(2**30),
}


def codes_of(
    requantization: Requantization, outputs: int, per_channel: bool, dtype: Any
) -> ways.WayOut:
    """Ties are frequent: multipliers are powers of two, or three times that."""
    unit, info = RULES[requantization], np.iinfo(dtype)
    each = np.arange(outputs) % 2
    multiplier = (unit + unit / 2 * each).astype(unit.dtype) if per_channel else np.asarray(unit)
    shift: Any = 0
    if unit.dtype == np.int32:
        shift = (-6 - each).astype(np.int32) if per_channel else -6
    return ways.requantized(
        requantization, multiplier, shift, channels=outputs, zero_point=3, qmin=3,
        qmax=int(info.max) - 1, dtype=dtype,
    )  # fmt: skip


@each_kernel
@each_layout
@pytest.mark.parametrize(("channels", "outputs", "groups"), SMALL)
def test_every_rule_in_every_form(
    isa: Isa, layout: Layout, channels: int, outputs: int, groups: int
) -> None:
    rng = np.random.default_rng(5)
    x = laid_out(integers(rng, np.uint8, 2, channels, 13, 12), layout)
    w = pack_conv_weight(
        integers(rng, np.int8, outputs, channels // groups, 3, 2), groups=groups, isa=isa
    )
    given_: dict[str, Any] = {
        "x_dtype": np.uint8, "stride": (2, 1), "padding": ((1, 0), (2, 1)), "dilation": (1, 2),
        "layout": layout, "x_zero_point": 100, "bias": np.arange(outputs, dtype=np.int32),
    }  # fmt: skip
    for w_zero in (0, np.arange(outputs, dtype=np.int32)):
        given_["w_zero_point"] = w_zero
        sums = prepare_conv2d(w, ways.integers(), **given_)(x)
        flat = nchw(sums, layout).transpose(0, 2, 3, 1).reshape(-1, outputs)
        for requantization, per_channel in itertools.product(RULES, (True, False)):
            for dtype in (np.int8, np.uint8, np.int16):
                way = codes_of(requantization, outputs, per_channel, dtype)
                codes = prepare_conv2d(w, way, **given_)(x)
                assert codes.dtype == dtype
                assert codes.flags.c_contiguous
                got = nchw(codes, layout).transpose(0, 2, 3, 1).reshape(-1, outputs)
                assert (got == way.numpy(flat)).all(), (requantization, per_channel)


def test_a_prepared_convolution_only_finds_its_plan_and_runs() -> None:
    rng = np.random.default_rng(6)
    w = integers(rng, np.int8, 8, 4, 3, 3)
    layer = prepare_conv2d(w, ways.integers(), x_dtype=np.int8)
    picture = integers(rng, np.int8, 1, 4, 6, 7)
    expected = layer(picture)
    names: list[str] = []

    def note(frame: Any, event: str, _: Any) -> None:
        if event == "call":
            names.append(frame.f_code.co_name)

    if FAST is not Isa.NUMPY:
        before = sys.getprofile()
        sys.setprofile(note)
        result = layer(picture)
        sys.setprofile(before)
        assert (result == expected).all()
        assert len(names) <= 6, names

    for size in range(3, 3 + 2 * MOST_PLANS):  # what is kept is bounded
        layer(np.ones((1, 4, 3, size), np.int8))
    assert len(layer.plans) <= MOST_PLANS
    assert (layer(picture) == expected).all()


def test_a_prepared_convolution_refuses_other_images() -> None:
    w = np.ones((2, 4, 3, 3), np.int8)
    layer = prepare_conv2d(w, ways.integers(), x_dtype=np.int8)
    good = np.ones((1, 4, 5, 5), np.int8)
    layer(good)
    for x in (good.astype(np.uint8), good.astype(np.int16), good.tolist(), None):
        with pytest.raises(TypeError, match=r"^x (is|has) .*; allowed"):
            layer(x)
    for x in (good[0], good[:, :3], good[:, :, :2], good[None]):
        with pytest.raises(ValueError, match=r"^x has .*; allowed"):
            layer(x)
    one = ways.requantized(
        Requantization.FIXED_SINGLE_UP,
        2**30,
        channels=1,
        zero_point=0,
        qmin=-128,
        qmax=127,
        dtype=np.int8,
    )
    with pytest.raises(ValueError, match="way has 1 channels; allowed are 2"):
        prepare_conv2d(w, one, x_dtype=np.int8)
