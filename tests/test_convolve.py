"""Integer convolution by its public function: the border, both layouts, and what is refused."""

import numpy as np
import pytest

import numq as nq

X = np.random.default_rng(0).integers(-128, 128, (2, 4, 7, 6)).astype(np.int8)
W = np.random.default_rng(1).integers(-128, 128, (6, 4, 3, 2)).astype(np.int8)


def by_hand(x, w, x_zero_point, w_zero_point, stride, padding, dilation, groups):
    """Every product written out, in int64."""
    (top, bottom), (left, right) = padding
    real = np.pad(x.astype(np.int64) - x_zero_point, ((0, 0), (0, 0), (top, bottom), (left, right)))
    steps = w.astype(np.int64) - np.reshape(w_zero_point, (-1, 1, 1, 1))
    n, _, h, width = real.shape
    o, c, kh, kw = steps.shape
    out_h = (h - dilation[0] * (kh - 1) - 1) // stride[0] + 1
    out_w = (width - dilation[1] * (kw - 1) - 1) // stride[1] + 1
    y = np.zeros((n, o, out_h, out_w), np.int64)
    for out in range(o):
        first = out // (o // groups) * c
        for p in range(kh):
            for q in range(kw):
                rows = slice(
                    p * dilation[0], p * dilation[0] + (out_h - 1) * stride[0] + 1, stride[0]
                )
                cols = slice(
                    q * dilation[1], q * dilation[1] + (out_w - 1) * stride[1] + 1, stride[1]
                )
                patch = real[:, first : first + c, rows, cols]
                y[:, out] += np.einsum("nchw,c->nhw", patch, steps[out, :, p, q])
    return y


@pytest.mark.parametrize("layout", nq.Layout)
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "groups"),
    [
        ((1, 1), ((0, 0), (0, 0)), (1, 1), 1),
        ((2, 1), ((1, 2), (0, 3)), (1, 2), 1),
        ((1, 2), ((1, 1), (1, 0)), (2, 1), 2),
    ],
)
@pytest.mark.parametrize(
    ("x_zero_point", "w_zero_point"), [(0, 0), (-128, 5), (127, np.arange(-3, 3))]
)
def test_every_product_is_counted_once(
    layout, stride, padding, dilation, groups, x_zero_point, w_zero_point
):
    w = W[:, : 4 // groups]
    expected = by_hand(X, w, x_zero_point, w_zero_point, stride, padding, dilation, groups)
    steps = {"stride": stride, "padding": padding, "dilation": dilation}
    zeros = {"x_zero_point": x_zero_point, "w_zero_point": w_zero_point}
    image = X if layout is nq.Layout.NCHW else X.transpose(0, 2, 3, 1)
    zeros["x_zero_point"] = np.array(x_zero_point)  # an array of one integer is one too
    for weight, extra in ((w, {"groups": groups}), (nq.pack_conv_weight(w, groups=groups), {})):
        y = nq.conv2d_int8(image, weight, layout=layout, **steps, **zeros, **extra)
        assert y.dtype == np.int32
        y = y if layout is nq.Layout.NCHW else y.transpose(0, 3, 1, 2)
        np.testing.assert_array_equal(y, expected)


def test_the_border_holds_the_zero_point_and_not_the_code_zero():
    image = np.full((1, 1, 1, 1), 100, np.uint8)
    ones = np.ones((1, 1, 3, 3), np.int8)
    y = nq.conv2d_int8(image, ones, padding=((1, 1), (1, 1)), x_zero_point=100)
    assert y.tolist() == [[[[0]]]]  # the code 0 in the border would give −800


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"x": X.astype(np.float32)}, TypeError, "x has dtype float32; allowed are integers"),
        ({"w": W.astype(np.int16)}, TypeError, "w has dtype int16"),
        ({"w": W[0]}, ValueError, "w has shape"),
        ({"x": X[0]}, ValueError, "x has shape"),
        ({"w": W[:, :3]}, ValueError, "4 channels"),
        ({"stride": (0, 1)}, ValueError, r"stride\[0\] is 0; allowed are integers from 1"),
        ({"padding": 1}, TypeError, "padding is 1; allowed"),
        ({"groups": 5}, ValueError, "groups is 5"),
        ({"layout": "NCHW"}, TypeError, "layout is 'NCHW'"),
        ({"x_zero_point": 128}, ValueError, "x_zero_point is 128"),
        ({"w_zero_point": 0.5}, TypeError, "w_zero_point has dtype float64"),
        ({"w_zero_point": 2**32 + 1}, ValueError, "w_zero_point is 4294967297"),
        (
            {"w": nq.pack_conv_weight(W[:, :2], groups=2), "groups": 3},
            ValueError,
            "groups is 3; allowed is that of the packed w, 2",
        ),
        ({"stride": (1.0, 1.0)}, TypeError, r"stride\[0\] is 1.0"),
        ({"dilation": (9, 9)}, ValueError, "allowed are at least"),
    ],
)
def test_bad_arguments_are_named(arguments, error, message):
    given = {"x": X, "w": W} | arguments
    with pytest.raises(error, match=message):
        nq.conv2d_int8(given.pop("x"), given.pop("w"), **given)


def test_a_sum_that_could_leave_int32_is_refused():
    w = np.zeros((1, 131_072, 1, 1), np.int8)
    with pytest.raises(ValueError, match="K is 131072"):
        nq.conv2d_int8(np.zeros((1, 131_072, 1, 1), np.int8), w)
